/** Opens the stored numbers that interop/make_fixtures.py made, and runs graphs on their weights: with the CPU engine, or another. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { grad } from "../../src/autodiff/grad.ts";
import type { Engine, TensorData } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { mean, square, sub } from "../../src/graph/build.ts";
import { Graph, type DType, type Shape, type Value } from "../../src/graph/graph.ts";
import { adapterBufferNames, addAdapters, type AdapterSpec } from "../../src/lora/inject.ts";
import type { ParameterSpec } from "../../src/nn/params.ts";

/** Relative norm of an output's difference from the stored one. */
const OUTPUT_TOLERANCE = 1e-4;
/** The same of a gradient's. */
const GRADIENT_TOLERANCE = 1e-3;

export interface StoredTensor {
  readonly shape: Shape;
  readonly data: Float32Array;
}
export type Tensors = ReadonlyMap<string, StoredTensor>;

/** One folder of fixtures, its weights in an engine's buffers. */
export interface Fixture<Case> {
  readonly name: string;
  readonly engine: Engine;
  readonly config: unknown;
  readonly case: Case;
  /** The tensors of `${file}.safetensors`. */
  tensors(file: string): Promise<Tensors>;
}

let openEngine: () => Promise<Engine> = () => createOrtEngine({ threads: 1 });

/** Has the fixtures that are opened from now on use another engine. */
export function useEngine(open: () => Promise<Engine>): void {
  openEngine = open;
}

/** The engine that fixtures are run with. */
export function openFixtureEngine(): Promise<Engine> {
  return openEngine();
}

function folderOf(name: string): string {
  return path.join(import.meta.dirname, "fixtures", name);
}

/** A JSON file of a fixture's folder. */
export async function readJson(name: string, file: string): Promise<unknown> {
  return JSON.parse(await readFile(path.join(folderOf(name), file), "utf8")) as unknown;
}

/** The tensors of `<fixture>/<file>.safetensors`. */
export async function readTensors(name: string, file: string): Promise<Tensors> {
  const opened = await openSafetensors(path.join(folderOf(name), `${file}.safetensors`));
  const entries = [...opened.tensors.values()].map(async ({ name: key, shape }) => {
    return [key, { shape, data: await readTensor(opened, key) }] as const;
  });
  return new Map(await Promise.all(entries));
}

/**
 * @param list what the model needs of the weights, by the fixture's config
 * @param component what the model's buffers' names start with
 */
export async function openFixture<Case>(
  name: string,
  component: string,
  list: (config: unknown) => readonly ParameterSpec[],
): Promise<Fixture<Case>> {
  const config = await readJson(name, "config.json");
  const weights = await openSafetensors(path.join(folderOf(name), "weights.safetensors"));
  const specs = list(config);
  // Not one weight more or less than the reference has, nor of another shape.
  const stored = [...weights.tensors.values()].map(({ name: key, shape }) => [`${component}.${key}`, shape] as const);
  expect(new Map(specs.map(({ name: key, shape }) => [key, shape]))).toEqual(new Map(stored));

  const engine = await openFixtureEngine();
  for (const spec of specs) {
    const entry = weights.tensors.get(spec.name.slice(component.length + 1));
    if (!entry) throw new Error(`${name} has no weight ${spec.name}`);
    const { offset, byteLength, dtype: storedDtype } = entry;
    await engine.allocate(spec, { kind: "file", path: weights.path, offset, byteLength, storedDtype });
  }
  const storedCase = (await readJson(name, "case.json")) as Case;
  return { name, engine, config, case: storedCase, tensors: (file) => readTensors(name, file) };
}

/** The tensor `name`; its absence is a broken fixture. */
export function tensorOf(tensors: Tensors, name: string): StoredTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`the fixture has no tensor ${name}`);
  return tensor;
}

/** A graph whose feeds are stored tensors. */
export interface FedGraph {
  readonly graph: Graph;
  /** The feed that holds a stored tensor. */
  readonly feed: (name: string, dtype?: DType) => Value;
}

export function createFedGraph(tensors: Tensors): FedGraph {
  const graph = new Graph();
  return { graph, feed: (name, dtype) => graph.feed(name, tensorOf(tensors, name).shape, dtype) };
}

/** Compiles and runs a graph once, its feeds being the stored tensors of their names and `extra`. */
export async function runOnce(
  engine: Engine,
  graph: Graph,
  tensors: Tensors,
  extra: Readonly<Record<string, TensorData>> = {},
): Promise<Readonly<Record<string, TensorData>>> {
  const feeds = graph.inputs.flatMap(({ attrs: { kind, name, dtype } }) => {
    if (kind !== "feed" || name in extra) return [];
    const { data } = tensorOf(tensors, name);
    return [[name, dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data)] as const];
  });
  const executable = await engine.compile(graph, { name: "parity" });
  try {
    return await executable.run({ ...Object.fromEntries(feeds), ...extra });
  } finally {
    await executable.dispose();
  }
}

export function meanSquaredError(a: Value, b: Value): Value {
  return mean(square(sub(a, b)));
}

/** Appends the gradients of `loss` for all buffers whose names start with `prefix`, and fetches them by their names. */
export function fetchGradients(graph: Graph, loss: Value, prefix: string): void {
  const buffers = graph.inputs.filter(({ attrs: { kind, name } }) => kind === "buffer" && name.startsWith(prefix));
  const gradients = grad(
    loss,
    buffers.map(({ outputs: [value] }) => value),
  );
  graph.fetches.set("loss", loss);
  buffers.forEach(({ attrs: { name } }, i) => {
    const gradient = gradients[i];
    if (gradient) graph.fetches.set(name, gradient);
  });
}

function norm(data: ArrayLike<number>): number {
  return Math.hypot(...Array.from(data));
}

/** Euclidean norm of the difference over that of the expected. */
function relativeDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  return norm(Array.from(expected, (x, i) => (actual[i] ?? NaN) - x)) / norm(expected);
}

/** Checks an output or a loss. */
export function expectOutput(actual: ArrayLike<number> | undefined, expected: ArrayLike<number>): void {
  expect(actual).toHaveLength(expected.length);
  expect(relativeDifference(actual ?? [], expected)).toBeLessThan(OUTPUT_TOLERANCE);
}

/** How small a gradient is, next to the largest, that is zero but for rounding: that of a key projection's bias, which softmax does not see. */
const ROUNDING = 1e-5;

/** Checks every gradient of `expected`, stored whole. */
export function expectGradients(
  actual: Readonly<Record<string, ArrayLike<number>>>,
  expected: ReadonlyMap<string, ArrayLike<number>>,
): void {
  const rounding = ROUNDING * Math.max(...[...expected.values()].map(norm));
  expect(rounding).toBeGreaterThan(0);
  for (const [name, data] of expected) {
    expect(actual[name], name).toHaveLength(data.length);
    if (norm(data) < rounding) expect(norm(actual[name] ?? []), name).toBeLessThan(rounding);
    else expect(relativeDifference(actual[name] ?? [], data), name).toBeLessThan(GRADIENT_TOLERANCE);
  }
}

/** Checks the norm of every gradient of `expected`. */
export function expectGradientNorms(
  actual: Readonly<Record<string, ArrayLike<number>>>,
  expected: Readonly<Record<string, number>>,
  nameOf: (key: string) => string,
): void {
  const norms = Object.keys(expected).map((key) => [nameOf(key), [norm(actual[nameOf(key)] ?? [NaN])]] as const);
  expectGradients(Object.fromEntries(norms), new Map(Object.entries(expected).map(([key, value]) => [nameOf(key), [value]])));
}

/** Checks the gradients of all weights: those in gradients.safetensors by number, all others by norm. */
export async function expectWeightGradients(
  fixture: Fixture<unknown>,
  component: string,
  actual: Readonly<Record<string, TensorData>>,
  norms: Readonly<Record<string, number>>,
): Promise<void> {
  const stored = [...(await fixture.tensors("gradients"))].map(([key, { data }]) => [`${component}.${key}`, data] as const);
  expectGradients(actual, new Map(stored));
  expectGradientNorms(actual, norms, (key) => `${component}.${key}`);
}

export interface AdapterSettings {
  readonly rank: number;
  readonly alpha: number;
}

/** What the fixture's adapter file puts adapters on, in the order of the file. */
export function adapterSpecs(tensors: Tensors, component: string, settings: AdapterSettings): readonly AdapterSpec[] {
  return [...tensors.keys()]
    .filter((name) => name.endsWith(".down"))
    .map((name) => ({ path: `${component}.${name.slice(0, -".down".length)}`, ...settings }));
}

/**
 * The loss that `graph` fetches as "loss", and the gradients of the adapters in `file`, put on it.
 *
 * @param prepare passes over the whole step before it is compiled
 * @returns what was run, and the gradients that are stored, by the same names
 */
export async function runAdapters(
  fixture: Fixture<unknown>,
  file: string,
  component: string,
  graph: Graph,
  inputs: Tensors,
  settings: AdapterSettings,
  prepare: (step: Graph) => Graph = (step) => step,
): Promise<{
  readonly actual: Readonly<Record<string, TensorData>>;
  readonly expected: ReadonlyMap<string, Float32Array>;
}> {
  const stored = await fixture.tensors(file);
  const prefix = `adapter-${file}`;
  const specs = adapterSpecs(stored, component, settings).map((spec) => ({ ...spec, prefix }));
  const adapted = addAdapters(graph, specs);
  const loss = adapted.fetches.get("loss");
  if (!loss) throw new Error("runAdapters: the graph must fetch its loss");
  fetchGradients(adapted, loss, `${prefix}.`);

  const expected = new Map<string, Float32Array>();
  for (const spec of specs) {
    const names = adapterBufferNames(spec);
    for (const part of ["down", "up"] as const) {
      const key = `${spec.path.slice(component.length + 1)}.${part}`;
      const { shape, data } = tensorOf(stored, key);
      await fixture.engine.allocate({ name: names[part], shape, dtype: "float32" }, { kind: "data", data });
      expected.set(names[part], tensorOf(stored, `${key}.grad`).data);
    }
  }
  const actual = await runOnce(fixture.engine, prepare(adapted), inputs);
  for (const name of expected.keys()) await fixture.engine.free(name);
  return { actual, expected };
}
