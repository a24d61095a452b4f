/** Numbers in words. */
import { expect, test } from "vitest";
import { countOf } from "./words.ts";

test("counts agree with their noun", () => {
  expect([countOf(1, "picture"), countOf(1200, "picture"), countOf(2, "copy", "copies")]).toEqual([
    "1 picture",
    "1,200 pictures",
    "2 copies",
  ]);
});
