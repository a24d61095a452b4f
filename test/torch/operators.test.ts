/** Every operator and every gradient on PyTorch: forward against naive float64 loops, and both against the CPU engine. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { grad } from "../../src/autodiff/grad.ts";
import { vjpRules } from "../../src/autodiff/vjp-rules.ts";
import type { Engine, TensorData } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { mul, reduceSum } from "../../src/graph/build.ts";
import { type Graph, sizeOf, type Value } from "../../src/graph/graph.ts";
import type { OpName } from "../../src/graph/ops.ts";
import { buildExample, createRandom, type Example, exampleFeeds, operatorExamples } from "../operator-examples.ts";
import { evaluate } from "../reference.ts";
import { describeTorch, openTorch } from "./python.ts";

const rows = (Object.keys(operatorExamples) as OpName[]).flatMap((op) =>
  (operatorExamples[op] as readonly Example[]).map((example) => ({ op, title: example.title, example })),
);

/** A float32 sum of a few dozen products is good to about 1e-6 of its largest term. */
const TOLERANCE = 4e-6;

/** The largest difference, relative to the largest number. */
function distance(actual: ArrayLike<number> | undefined, expected: ArrayLike<number>): number {
  expect(actual).toHaveLength(expected.length);
  const numbers = Array.from(expected);
  const scale = numbers.reduce((top, x) => Math.max(top, Math.abs(x)), 1e-30);
  return numbers.reduce((worst, x, i) => Math.max(worst, Math.abs((actual?.[i] ?? NaN) - x) / scale), 0);
}

function feedsOf({ inputs }: Example): Record<string, TensorData> {
  return Object.fromEntries(
    inputs.map(({ dtype, data }, i) => [`in${i}`, dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data)]),
  );
}

async function run(engine: Engine, graph: Graph, feeds: Readonly<Record<string, TensorData>>) {
  const executable = await engine.compile(graph, { name: "example" });
  try {
    return await executable.run(Object.fromEntries(Object.entries(feeds).map(([name, data]) => [name, data.slice()])));
  } finally {
    await executable.dispose();
  }
}

describeTorch("on PyTorch", () => {
  let torch: Engine;
  let ort: Engine;
  beforeAll(async () => {
    [torch, ort] = await Promise.all([openTorch(), createOrtEngine({ threads: 1 })]);
  });
  afterAll(async () => {
    await torch.dispose();
    await ort.dispose();
  });

  test.each(rows)("$op runs as its naive loops do: $title", async ({ op, example }) => {
    const { graph } = buildExample(op, example);
    const expected = evaluate(graph, exampleFeeds(example)).fetches;
    const actual = await run(torch, graph, feedsOf(example));
    expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
    for (const [name, { data }] of Object.entries(expected)) expect(distance(actual[name], data), name).toBeLessThan(TOLERANCE);
  });

  const differentiable = rows.filter(
    ({ op, example }) => vjpRules[op] !== "nondifferentiable" && example.inputs.some((input) => input.isDifferentiated),
  );

  test.each(differentiable)("the gradient of $op is the CPU engine's: $title", async ({ op, example }) => {
    const { graph, outputs } = buildExample(op, example);
    const [y] = outputs as readonly [Value];
    const inputs = example.inputs.flatMap(({ isDifferentiated, dtype, shape }, i) =>
      isDifferentiated ? [graph.feed(`in${i}`, shape, dtype)] : [],
    );
    const gradients = grad(reduceSum(mul(y, graph.feed("ct", y.shape))), inputs);
    gradients.forEach((gradient, i) => graph.fetches.set(`grad${i}`, gradient));
    const random = createRandom(7);
    const ct = Float32Array.from({ length: sizeOf(y.shape) }, () => 2 * random() - 1);
    const feeds = { ...feedsOf(example), ct };
    const expected = await run(ort, graph, feeds);
    const actual = await run(torch, graph, feeds);
    expect(gradients.length).toBeGreaterThan(0);
    for (const [name, data] of Object.entries(expected)) expect(distance(actual[name], data), name).toBeLessThan(TOLERANCE);
  });
});
