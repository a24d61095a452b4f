/** Prompts of previews with and without the trigger word. */
import { expect, test } from "vitest";
import { previewTexts, removeTrigger } from "./preview.ts";

test("the trigger word is taken out with its comma", () => {
  expect(removeTrigger("sks, a fox", "sks")).toBe("a fox");
  expect(removeTrigger("a photo of SKS dog, outdoors", "sks")).toBe("a photo of dog, outdoors");
  expect(removeTrigger("a fox", "sks")).toBe("a fox");
  expect(removeTrigger("many risks", "isk")).toBe("many risks");
});

test("every prompt comes without and with the trigger word", () => {
  expect(previewTexts({ previewPrompts: ["sks, a fox", "a hen"], trigger: "sks" })).toEqual([
    "a fox",
    "a hen",
    "sks, a fox",
    "sks, a hen",
  ]);
});
