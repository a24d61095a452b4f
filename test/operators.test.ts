/** Every operator by one table: its engine, its `decompose` rule and its gradient against naive float64 loops. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import { vjpRules } from "../src/autodiff/vjp-rules.ts";
import { mul, reduceSum } from "../src/graph/build.ts";
import { decompose, decomposeRules } from "../src/graph/decompose.ts";
import type { Engine } from "../src/engines/engine.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import type { Graph } from "../src/graph/graph.ts";
import type { OpName } from "../src/graph/ops.ts";
import { optimise } from "../src/graph/passes.ts";
import { verify } from "../src/graph/verify.ts";
import { buildExample, createRandom, type Example, exampleFeeds, operatorExamples } from "./operator-examples.ts";
import { evaluate } from "./reference.ts";

const opNames = Object.keys(operatorExamples) as OpName[];

const rows = opNames.flatMap((op) =>
  (operatorExamples[op] as readonly Example[]).map((example) => ({ op, title: example.title, example })),
);

/** The largest difference, relative to the largest number. */
function distance(actual: ArrayLike<number>, expected: Float64Array): number {
  expect(actual.length).toBe(expected.length);
  const scale = expected.reduce((top, x) => Math.max(top, Math.abs(x)), 1e-30);
  return expected.reduce((worst, x, i) => Math.max(worst, Math.abs((actual[i] ?? NaN) - x) / scale), 0);
}

describe("the CPU engine runs an operator as its naive loops do", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createOrtEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  for (const { op, title, example } of rows) {
    test(`${op}: ${title}`, async () => {
      const { graph } = buildExample(op, example);
      const expected = evaluate(graph, exampleFeeds(example)).fetches;
      const executable = await engine.compile(graph, { name: `${op}: ${title}` });
      const feeds = example.inputs.map(
        ({ dtype, data }, i) => [`in${i}`, dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data)] as const,
      );
      const actual = await executable.run(Object.fromEntries(feeds));
      await executable.dispose();
      // A float32 sum of a few dozen products is good to about 1e-6 of its largest term.
      for (const [name, { data }] of Object.entries(expected)) expect(distance(actual[name] ?? [], data)).toBeLessThan(4e-6);
    });
  }
});

describe("taking a composite apart keeps what it calculates", () => {
  const composites = rows.filter(({ op }) => op in decomposeRules);

  for (const { op, title, example } of composites) {
    test(`${op}: ${title}`, () => {
      const { graph } = buildExample(op, example);
      const expected = evaluate(graph, exampleFeeds(example)).fetches;
      for (const simpler of [decompose(graph, new Set()), optimise(graph, { keep: new Set() })]) {
        verify(simpler);
        expect(simpler.nodes.map((node) => node.op).filter((name) => name in decomposeRules)).toEqual([]);
        const actual = evaluate(simpler, exampleFeeds(example)).fetches;
        for (const [name, { data }] of Object.entries(expected))
          expect(distance(actual[name]?.data ?? [], data)).toBeLessThan(1e-12);
      }
    });
  }
});

describe("the gradient of an operator matches central differences", () => {
  const differentiable = rows.filter(
    ({ op, example }) => vjpRules[op] !== "nondifferentiable" && example.inputs.some((input) => input.isDifferentiated),
  );

  for (const { op, title, example } of differentiable) {
    test(`${op}: ${title}`, () => {
      const random = createRandom(7);
      const { graph, outputs } = buildExample(op, example);
      const [y] = outputs;
      if (!y) throw new Error("an operator has outputs");
      const loss = reduceSum(mul(y, graph.feed("ct", y.shape)));
      const inputs = example.inputs.flatMap(({ isDifferentiated, dtype, shape }, i) =>
        isDifferentiated ? [{ name: `in${i}`, value: graph.feed(`in${i}`, shape, dtype) }] : [],
      );
      const ct = Float64Array.from({ length: y.shape.reduce((a, b) => a * b, 1) }, () => 2 * random() - 1);
      const feeds = { ...exampleFeeds(example), ct };
      graph.fetches.clear();
      graph.fetches.set("loss", loss);
      const gradients = grad(loss, inputs.map(({ value }) => value)); // prettier-ignore
      gradients.forEach((gradient, i) => graph.fetches.set(`grad ${inputs[i]?.name}`, gradient));
      verify(graph);
      for (const variant of [graph, optimise(graph, { keep: new Set() })]) checkGradients(variant, feeds, inputs, random);
    });
  }
});

/** Along one random direction of each input. */
function checkGradients(
  graph: Graph,
  feeds: Readonly<Record<string, Float64Array>>,
  inputs: readonly { readonly name: string }[],
  random: () => number,
): void {
  const { fetches } = evaluate(graph, feeds);
  for (const { name } of inputs) {
    const gradient = fetches[`grad ${name}`]?.data ?? new Float64Array();
    const x = feeds[name] ?? new Float64Array();
    expect(gradient.length).toBe(x.length);
    const direction = x.map(() => 2 * random() - 1);
    const h = 1e-5;
    const lossAt = (step: number): number =>
      evaluate(graph, { ...feeds, [name]: x.map((v, i) => v + step * (direction[i] ?? 0)) }).fetches["loss"]?.data[0] ?? NaN;
    const difference = (lossAt(h) - lossAt(-h)) / (2 * h);
    const along = gradient.reduce((sum, g, i) => sum + g * (direction[i] ?? 0), 0);
    // Against the size of the terms, not of their sum, which may cancel.
    const size = gradient.reduce((sum, g, i) => sum + Math.abs(g * (direction[i] ?? 0)), 1e-3);
    expect(Math.abs(along - difference) / size, `${name}: ${along} against ${difference}`).toBeLessThan(1e-6);
  }
}

test("exactly these operators have no gradient: gradients of composites, the optimizer, and what only scaling uses", () => {
  expect(opNames.filter((op) => vjpRules[op] === "nondifferentiable")).toEqual([
    "Min",
    "Max",
    "SiluGrad",
    "GeluGrad",
    "QuickGeluGrad",
    "ReduceMax",
    "Conv2dGradInput",
    "Conv2dGradWeight",
    "SoftmaxGrad",
    "NormalizeGrad",
    "LayerNormGrad",
    "GroupNormGrad",
    "AttentionGrad",
    "Dequantise",
    "AllReduceMean",
    "AdamW",
  ]);
});
