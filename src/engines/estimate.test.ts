import { expect, test } from "vitest";
import { add, conv2d, matmul } from "../graph/build.ts";
import { Graph, type Value } from "../graph/graph.ts";
import type { DeviceProfile } from "./engine.ts";
import { estimateSeconds } from "./estimate.ts";

const rates: DeviceProfile = {
  engine: "ort",
  name: "a machine",
  memoryBytes: 2 ** 34,
  threads: 2,
  dtypes: ["float32"],
  flopsPerSecond: 1e11,
  bytesPerSecond: 1e10,
};
const kinds = {
  product: { fixedSeconds: 1e-5, workPerSecond: 2e11 },
  lowRank: { fixedSeconds: 2e-5, workPerSecond: 1e10 },
  convolution: { fixedSeconds: 3e-5, workPerSecond: 1e11 },
  elementwise: { fixedSeconds: 4e-6, workPerSecond: 2e10 },
};

function secondsOf(build: (graph: Graph) => Value, profile: DeviceProfile): number {
  const graph = new Graph();
  graph.fetches.set("y", build(graph));
  return estimateSeconds(graph, profile);
}

const product = (graph: Graph): Value => matmul(graph.feed("a", [256, 128]), graph.feed("b", [128, 512]));
const lowRank = (graph: Graph): Value => matmul(graph.feed("a", [256, 128]), graph.feed("b", [128, 8]));
const convolution = (graph: Graph): Value => conv2d(graph.feed("x", [1, 16, 8, 8]), graph.feed("w", [32, 16, 3, 3]), undefined, { padding: 1 }); // prettier-ignore
const addition = (graph: Graph): Value => add(graph.feed("a", [1000]), graph.feed("b", [1000]));

test("an operation takes what its kind takes at least, and its work at that kind's rate", () => {
  const profile = { ...rates, kinds };
  expect(secondsOf(product, profile)).toBeCloseTo(1e-5 + (2 * 256 * 128 * 512) / 2e11, 12);
  expect(secondsOf(lowRank, profile)).toBeCloseTo(2e-5 + (2 * 256 * 128 * 8) / 1e10, 12);
  expect(secondsOf(convolution, profile)).toBeCloseTo(3e-5 + (2 * 32 * 64 * 16 * 9) / 1e11, 12);
  expect(secondsOf(addition, profile)).toBeCloseTo(4e-6 + 12_000 / 2e10, 12);
});

test("with two rates alone, the slower of computing and moving counts", () => {
  expect(secondsOf(addition, rates)).toBeCloseTo(5e-6 + 12_000 / 1e10, 12);
  expect(secondsOf(product, rates)).toBeCloseTo(5e-6 + (2 * 256 * 128 * 512) / 1e11, 12);
});
