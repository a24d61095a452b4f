/** Passes on a real engine: a whole training step of a small network gives the same before and after them. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { appendStep } from "../src/trainer/optimize.ts";
import type { Engine, TensorData } from "../src/engines/engine.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import {
  add,
  attention,
  conv2d,
  gelu,
  groupNorm,
  layerNorm,
  matmul,
  mean,
  mul,
  reshape,
  silu,
  split,
  square,
  sub,
  transpose, // prettier-ignore
} from "../src/graph/build.ts";
import type { Composite } from "../src/graph/decompose.ts";
import { Graph, type Shape, sizeOf, type Value } from "../src/graph/graph.ts";
import { optimise } from "../src/graph/passes.ts";
import { verify } from "../src/graph/verify.ts";
import { createRandom } from "./operator-examples.ts";
import { evaluate } from "./reference.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await createOrtEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const channels = 8;
const trained: { name: string; shape: Shape }[] = [];

/** A buffer that is trained. */
function weight(graph: Graph, name: string, shape: Shape): Value {
  if (!trained.some((known) => known.name === name)) trained.push({ name, shape });
  return graph.buffer(name, shape);
}

function residual(x: Value, name: string): Value {
  const { graph } = x;
  return graph.block(name, () => {
    const gain = weight(graph, `${name}.gain`, [channels]);
    const h = silu(groupNorm(x, gain, gain, 2, 1e-5));
    return add(x, conv2d(h, weight(graph, `${name}.conv`, [channels, channels, 3, 3]), undefined, { padding: 1 }));
  });
}

/** Attention and a gated feed-forward over the pixels. */
function transformer(x: Value, name: string): Value {
  const { graph } = x;
  const [batch = 1, , height = 1, width = 1] = x.shape;
  return graph.block(name, () => {
    const tokens = transpose(reshape(x, [batch, channels, height * width]), [0, 2, 1]);
    const gain = weight(graph, `${name}.gain`, [channels]);
    const normed = layerNorm(tokens, gain, gain, 1e-5);
    const [q, k, v] = ["q", "k", "v"].map((part) => {
      const projected = matmul(normed, weight(graph, `${name}.${part}`, [channels, channels]), { transB: true });
      return transpose(reshape(projected, [batch, height * width, 2, channels / 2]), [0, 2, 1, 3]);
    }) as [Value, Value, Value];
    const attended = reshape(transpose(attention(q, k, v, 0.5), [0, 2, 1, 3]), tokens.shape);
    const h = add(tokens, attended);
    const wide = matmul(h, weight(graph, `${name}.ff`, [2 * channels, channels]), { transB: true });
    const [value, gate] = split(wide, 2, 2) as [Value, Value];
    return reshape(transpose(add(h, mul(value, gelu(gate))), [0, 2, 1]), x.shape);
  });
}

function buildStep(): Graph {
  const graph = new Graph();
  let x: Value = graph.feed("x", [2, channels, 5, 4]);
  for (let i = 0; i < 2; i++) x = transformer(residual(x, `res${i}`), `attn${i}`);
  const loss = mean(square(sub(x, graph.feed("target", x.shape))));
  graph.fetches.set("loss", loss);
  const settings = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, maxGradNorm: 1 };
  appendStep(loss, [{ name: "all", parameters: trained }], settings);
  return graph;
}

/** The same numbers for every variant, by name; second moments are positive, scalars those of a first step. */
function inputData(graph: Graph): Record<string, Float32Array> {
  const random = createRandom(5);
  const scalars: Record<string, number> = { "learningRate.all": 0.01, correction1: 0.1, correction2: 0.001 };
  return Object.fromEntries(
    graph.inputs.map(({ attrs: { name, shape } }) => {
      const draw = (): number => scalars[name] ?? (name.endsWith(".v") ? random() : random() - 0.5);
      return [name, Float32Array.from({ length: sizeOf(shape) }, draw)];
    }),
  );
}

async function runOnEngine(graph: Graph, inputs: Record<string, Float32Array>): Promise<Record<string, TensorData>> {
  const buffers = graph.inputs.filter(({ attrs }) => attrs.kind === "buffer");
  for (const { attrs } of buffers)
    await engine.allocate(attrs, { kind: "data", data: (inputs[attrs.name] ?? new Float32Array()).slice() });
  const executable = await engine.compile(graph, { name: "step" });
  const feeds = graph.inputs.flatMap(({ attrs: { kind, name } }) =>
    kind === "feed" ? [[name, inputs[name]?.slice()] as const] : [],
  );
  const results = await executable.run(Object.fromEntries(feeds) as Record<string, TensorData>);
  for (const name of graph.updates.keys()) results[name] = await engine.read(name);
  await executable.dispose();
  for (const { attrs } of buffers) await engine.free(attrs.name);
  return results;
}

const kept: ReadonlySet<Composite> = new Set(["Silu", "Gelu", "LayerNorm"]);

test("a training step after all passes gives what the naive interpreter gives for the graph as it was built", async () => {
  const graph = buildStep();
  const inputs = inputData(graph);
  const { fetches, updates } = evaluate(graph, inputs);
  const optimised = optimise(graph, { keep: kept, remat: { blocks: "all" } });
  verify(optimised);
  const actual = await runOnEngine(optimised, inputs);
  expect(Object.keys(actual).length).toBe(2 + 3 * trained.length);
  for (const [name, { data }] of Object.entries({ ...fetches, ...updates })) {
    const [start, result] = [inputs[name], actual[name]];
    // An update is measured against what changed, not against the weight.
    const change = Math.hypot(...data.map((x, i) => x - (start?.[i] ?? 0)));
    const error = Math.hypot(...data.map((x, i) => x - (result?.[i] ?? NaN)));
    expect(error / change, name).toBeLessThan(1e-3);
  }
});

test("a step that recomputes every block ends in the same bytes as one that keeps everything", async () => {
  const graph = buildStep();
  const inputs = inputData(graph);
  const plain = optimise(graph, { keep: kept });
  const less = optimise(graph, { keep: kept, remat: { blocks: "all" } });
  expect(less.nodes.filter((node) => node.recompute).length).toBeGreaterThan(20);
  expect(await runOnEngine(less, inputs)).toEqual(await runOnEngine(plain, inputs));
});
