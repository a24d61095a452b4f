/** Captions: what counts as having the trigger word. */
import { expect, test } from "vitest";
import { hasTrigger, insertTrigger, tidyCaption } from "./captions.ts";

test("a caption that lacks the trigger gets it in front, and this is said", () => {
  expect(insertTrigger("a dog on grass", "sks")).toEqual({ caption: "sks, a dog on grass", isAdded: true });
  expect(insertTrigger("", "sks")).toEqual({ caption: "sks", isAdded: true });
});

test("a caption that has the trigger as whole words, in any case, is left alone", () => {
  for (const caption of ["SKS dog", "a (sks) dog", "photo of sks", "sks", "a sks-dog"]) {
    expect(insertTrigger(caption, "sks")).toEqual({ caption, isAdded: false });
  }
  expect(insertTrigger("in My  Style, a cat", "my style").isAdded).toBe(false);
});

test("a part of a word is not the trigger, in any script", () => {
  expect(hasTrigger("risks", "sks")).toBe(false);
  expect(hasTrigger("sks2 dog", "sks")).toBe(false);
  expect(hasTrigger("sks_dog", "sks")).toBe(false);
  expect(hasTrigger("über", "ber")).toBe(false);
  expect(hasTrigger("ein Über-Stil", "über")).toBe(true);
});

test("marks that regular expressions know are letters in a trigger", () => {
  for (const trigger of ["a.b", "(x)", "c++", "x|y", "[z]", "a-b", "a/b", "^v$", "\\d"]) {
    expect(hasTrigger(`one ${trigger} two`, trigger)).toBe(true);
    expect(insertTrigger("one two", trigger).caption).toBe(`${trigger}, one two`);
  }
  expect(hasTrigger("aXb", "a.b")).toBe(false);
});

test("no trigger changes nothing", () => {
  expect(insertTrigger("a dog", " ")).toEqual({ caption: "a dog", isAdded: false });
});

test("byte-order marks, line ends and runs of spaces go", () => {
  expect(tidyCaption("\uFEFF a dog,\r\n  on\tgrass \n")).toBe("a dog, on grass");
});
