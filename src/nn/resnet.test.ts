import { expect, test } from "vitest";
import { Graph } from "../graph/graph.ts";
import { createParams } from "./params.ts";
import { downsample, upsample } from "./resnet.ts";

test("downsample rounds up with padding 1 and down with the asymmetric padding", () => {
  const params = createParams(new Graph(), "m");
  const x = params.graph.feed("x", [1, 4, 7, 8]);
  expect(downsample(params.at("downsamplers.0"), x, 1).shape).toEqual([1, 4, 4, 4]);
  expect(downsample(params.at("downsamplers.0"), x, 0).shape).toEqual([1, 4, 3, 4]);
});

test("upsample gives twice the size, or one pixel less, and refuses any other", () => {
  const params = createParams(new Graph(), "m");
  const x = params.graph.feed("x", [1, 4, 4, 4]);
  expect(upsample(params, x).shape).toEqual([1, 4, 8, 8]);
  expect(upsample(params, x, [7, 8]).shape).toEqual([1, 4, 7, 8]);
  expect(() => upsample(params, x, [8, 9])).toThrow("8 or 7 pixels can be made, got 9");
});
