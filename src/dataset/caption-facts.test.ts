import { describe, expect, test } from "vitest";
import { describeCaption } from "./caption-facts.ts";
import { describeTrigger } from "./trigger-facts.ts";

const of = (text: string, trigger?: string) => describeCaption(text, { trigger, tokenizer: undefined });

describe("describeCaption", () => {
  test.each([
    ["a red fox jumps over a stone wall", "sentence"],
    ["inkwash, a quiet lake at dusk with boats", "sentence"],
    ["1girl, solo, blue eyes, long hair, standing, outdoors", "tags"],
    ["1girl, solo, blue eyes, long hair, school uniform, standing, outdoors, day, looking at viewer, smile", "tags"],
    ["anchor", "phrase"],
    ["inkwash, face with tears of joy", "phrase"],
  ])("%s: %s", (text, kind) => {
    expect(of(text, "inkwash").kind).toBe(kind);
  });

  test("an empty caption is of no kind", () => {
    expect(of("").kind).toBeUndefined();
  });

  test.each([
    ["inkwash, a fox", { at: "first" }],
    ["a fox, inkwash", { at: "later" }],
    ["a fox in inkwashed colours", { at: "absent" }],
    ["Inkwash, a fox", { at: "variant", variant: "Inkwash", isCaseOnly: true }],
    ["ink wash, a fox", { at: "variant", variant: "ink wash", isCaseOnly: false }],
    ["inkwsh, a fox", { at: "variant", variant: "inkwsh", isCaseOnly: false }],
  ])("the trigger word in %s", (text, place) => {
    expect(of(text, "inkwash").trigger).toEqual(place);
  });

  test("tags that cannot both be true are told, unless two people or mixed colours explain them", () => {
    expect(of("1girl, blue eyes, red eyes").contradictions).toEqual(["blue eyes, red eyes (the colour of the eyes)"]);
    expect(of("1girl, ginger hair, dark-blue hair").contradictions).toEqual([
      "ginger hair, dark-blue hair (the colour of the hair)",
    ]);
    expect(of("1girl, azure eyes, light blue eyes").contradictions).toEqual([]);
    expect(of("1girl, heterochromia, blue eyes, red eyes").contradictions).toEqual([]);
    expect(of("1girl, 1boy, standing, sitting").contradictions).toEqual([]);
  });

  test("tags lose weights, underscores and capitals", () => {
    expect(of("Long_Hair, (blue eyes:1.2), smile.").tags).toEqual(["long hair", "blue eyes", "smile"]);
  });
});

describe("describeTrigger", () => {
  test("knows common words and look-alikes", () => {
    expect(describeTrigger("person", undefined).isKnownWord).toBe(true);
    expect(describeTrigger("p3rs0n", undefined).looksLike).toBe("person");
    expect(describeTrigger("zwx", undefined)).toMatchObject({ isKnownWord: false, looksLike: undefined });
  });
});

const facts = (text: string) => describeCaption(text, { trigger: "sks", tokenizer: undefined });

test("a look is named by lists, by how its name is built, and said at its longest", () => {
  expect(facts("sks, a fox, steel engraving").styleWords).toEqual(["steel engraving"]);
  expect(facts("sks, neo-expressionism").styleWords).toEqual(["neo-expressionism"]);
  expect(facts("sks, a barn in the style of Vermeer").styleWords).toEqual(["in the style of vermeer"]);
  expect(facts("sks, colour wood-cut of a crow").styleWords).not.toEqual([]);
  for (const text of [
    "sks, a man painting a fence",
    "sks, hair style",
    "sks, a girl drawing",
    "sks, a dress of the same style",
  ])
    expect(facts(text).styleWords).toEqual([]);
});

test("a sentence says where by its preposition, whatever the place is called; clothes and hands are no place", () => {
  for (const text of ["sks, a fox behind a scriptorium", "sks, a fox near the sluice, running", "sks, fox, canyon"])
    expect(facts(text).namesBackground).toBe(true);
  for (const text of ["sks, a man in a nightshirt", "sks, a girl in a red coat", "sks, a cup in his hand", "sks, a bridge"])
    expect(facts(text).namesBackground).toBe(false);
  expect(facts("sks, a fox by lamplight").namesLight).toBe(true);
  expect(facts("sks, a lamp").namesLight).toBe(false);
});

test("a compound names a place by its end, and what a person is in by its name alone", () => {
  for (const text of ["sks, fox, drugstore", "sks, fox, millpond", "sks, fox, rest area", "sks, a man in a drugstore"])
    expect(facts(text).namesBackground).toBe(true);
  for (const text of ["sks, fox, mushroom", "sks, a man in a mackinaw", "sks, a woman in a house coat", "sks, fox, the area"])
    expect(facts(text).namesBackground).toBe(false);
  expect(facts("sks, fox, phosphorescence").namesLight).toBe(true);
  expect(facts("sks, fox, highlight").namesLight).toBe(false);
});

test("two colours contradict each other only where no shade is both", () => {
  expect(facts("sks, azure eyes, brown eyes").contradictions).toHaveLength(1);
  expect(facts("sks, teal eyes, indigo eyes").contradictions).toHaveLength(1);
  expect(facts("sks, dark blue hair, black hair").contradictions).toHaveLength(1);
  for (const text of [
    "sks, blue-green eyes, blue eyes",
    "sks, reddish brown hair, brown hair",
    "sks, teal eyes, green eyes",
    "sks, teal eyes, blue eyes",
    "sks, copper hair, red hair",
    "sks, red hair, blue eyes",
  ])
    expect(facts(text).contradictions).toEqual([]);
});
