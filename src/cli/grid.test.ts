/** The one argument of gesso sample that has a grammar of its own. */
import { expect, test } from "vitest";
import { parseLora } from "./grid.ts";

test.each([
  ["style.safetensors", "style.safetensors", 1],
  ["style.safetensors:0.8", "style.safetensors", 0.8],
  ["runs/a/style.safetensors:-1", "runs/a/style.safetensors", -1],
  ["C:\\loras\\style.safetensors", "C:\\loras\\style.safetensors", 1],
  ["C:\\loras\\style.safetensors:0.8", "C:\\loras\\style.safetensors", 0.8],
  ["C:/loras/style.safetensors:.5", "C:/loras/style.safetensors", 0.5],
  ["C:style.safetensors", "C:style.safetensors", 1],
  ["odd:name", "odd:name", 1],
])("%s is the file %s at weight %d", (text, path, weight) => {
  expect(parseLora(text)).toEqual({ path, weight });
});

test.each(["style.safetensors:strong", "style.safetensors:", "C:\\style.safetensors:0,8"])("%s is refused", (text) => {
  expect(() => parseLora(text)).toThrow("is not a weight");
});
