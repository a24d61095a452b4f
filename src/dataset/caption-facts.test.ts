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
