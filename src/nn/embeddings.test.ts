import { expect, test } from "vitest";
import { Graph, type NodeOf } from "../graph/graph.ts";
import { sinusoidalEmbedding } from "./embeddings.ts";

function frequencies(downscaleFreqShift: number): readonly number[] {
  const graph = new Graph();
  sinusoidalEmbedding(graph.feed("t", [1]), { width: 8, flipSinToCos: true, downscaleFreqShift });
  return (graph.nodes.find((node) => node.op === "Constant") as NodeOf<"Constant">).attrs.data;
}

test("frequencies fall from 1 in equal ratios, and reach 1/10000 when the shift is 1", () => {
  expect(frequencies(0).map((f) => f.toPrecision(6))).toEqual(["1.00000", "0.100000", "0.0100000", "0.00100000"]);
  expect(frequencies(1).at(-1)).toBeCloseTo(1e-4, 10);
});

test("flipSinToCos decides which half comes first", () => {
  const firstHalf = (flipSinToCos: boolean): string | undefined => {
    const graph = new Graph();
    const y = sinusoidalEmbedding(graph.feed("t", [3]), { width: 4, flipSinToCos, downscaleFreqShift: 0 });
    expect(y.shape).toEqual([3, 4]);
    return (y.node as NodeOf<"Concat">).inputs[0]?.node.op;
  };
  expect(firstHalf(true)).toBe("Cos");
  expect(firstHalf(false)).toBe("Sin");
});

test("an odd width is refused", () => {
  const options = { width: 5, flipSinToCos: true, downscaleFreqShift: 0 };
  expect(() => sinusoidalEmbedding(new Graph().feed("t", [1]), options)).toThrow("an even width needed, got 5");
});
