import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../../errors.ts";
import { float32ToFloat16 } from "../../formats/float16.ts";
import { add, matmul, mul, reduceSum, silu, softmax, sub } from "../../graph/build.ts";
import type { BufferSpec, TensorData, TensorSource } from "../engine.ts";
import { Graph } from "../../graph/graph.ts";
import { createOrtEngine, type OrtEngine } from "./engine.ts";

let engine: OrtEngine;
const allocated = new Set<string>();
beforeAll(async () => {
  engine = await createOrtEngine({ threads: 2 });
});
afterEach(async () => {
  for (const name of allocated) await engine.free(name);
  allocated.clear();
});
afterAll(() => engine.dispose());

function floats(...values: number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(values);
}

/** A buffer that is freed after the test. */
async function make(spec: BufferSpec, source: TensorSource): Promise<void> {
  await engine.allocate(spec, source);
  allocated.add(spec.name);
}

function allocate(name: string, ...values: number[]): Promise<void> {
  return make({ name, shape: [values.length], dtype: "float32" }, { kind: "data", data: floats(...values) });
}

describe("buffers", () => {
  test("keep what was put in them, as data, zeros or later writes", async () => {
    await allocate("a", 1, 2);
    await make({ name: "b", shape: [2, 2], dtype: "int32" }, { kind: "zeros" });
    expect(await engine.read("a")).toEqual(floats(1, 2));
    expect(await engine.read("b")).toEqual(new Int32Array(4));
    await engine.write("a", floats(3, 4));
    expect(await engine.read("a")).toEqual(floats(3, 4));
    expect((await engine.memory()).bufferBytes).toBe(8 + 16);
    await engine.free("a");
    allocated.delete("a");
    expect((await engine.memory()).bufferBytes).toBe(16);
  });

  test("are read from a range of a file, and narrow floats become float32", async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), "gesso-ort-"));
    try {
      const file = path.join(folder, "weights.bin");
      const wide = floats(1.5, -2, 3);
      const narrow = float32ToFloat16(floats(0.5, -0.25, 8));
      await writeFile(
        file,
        Buffer.concat([Buffer.alloc(7), Buffer.from(wide.buffer), Buffer.from(narrow.buffer as ArrayBuffer)]),
      );
      const spec = { shape: [3], dtype: "float32" } as const;
      const source = { kind: "file", path: file, storedDtype: "F32", offset: 7, byteLength: 12 } as const;
      await make({ name: "wide", ...spec }, source);
      await make({ name: "narrow", ...spec }, { ...source, storedDtype: "F16", offset: 19, byteLength: 6 });
      expect(await engine.read("wide")).toEqual(wide);
      expect(await engine.read("narrow")).toEqual(floats(0.5, -0.25, 8));
      const short = make({ name: "short", ...spec }, { ...source, offset: 20 });
      await expect(short).rejects.toThrow(/ends before the weights of short/);
      await expect(short).rejects.toBeInstanceOf(UserError);
      await make({ name: "short", ...spec }, { kind: "zeros" }); // The name is free again.
      // [3, 2] in the file, [2, 3] in the buffer.
      const matrix = float32ToFloat16(floats(1, 2, 3, 4, 5, 6));
      await writeFile(file, Buffer.from(matrix.buffer as ArrayBuffer));
      const turned = { ...source, storedDtype: "F16", offset: 0, byteLength: 12, transposedFrom: [3, 2] } as const;
      await make({ name: "turned", shape: [2, 3], dtype: "float32" }, turned);
      expect(await engine.read("turned")).toEqual(floats(1, 3, 5, 2, 4, 6));
      await writeFile(file, Buffer.from(floats(1, -Infinity, 2).buffer));
      const spoilt = make({ name: "spoilt", ...spec }, { ...source, offset: 0, key: "a.b" });
      await expect(spoilt).rejects.toThrow(`${file}: a.b holds -Infinity at position 1, which is no weight.`);
      const misfit = make({ name: "misfit", ...spec }, { ...source, byteLength: 8 });
      await expect(misfit).rejects.toThrow("3 F32 take 12 bytes, the range has 8");
      const missing = make({ name: "gone", ...spec }, { ...source, path: path.join(folder, "gone") });
      await expect(missing).rejects.toBeInstanceOf(UserError);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("are refused under a name that exists, and data of another size or type", async () => {
    await allocate("a", 1, 2);
    await expect(allocate("a", 1)).rejects.toThrow("buffer a exists already");
    await expect(engine.write("a", floats(1))).rejects.toThrow("buffer a is f32[2], got Float32Array(1)");
    await expect(engine.write("a", new Int32Array(2))).rejects.toThrow("buffer a is f32[2], got Int32Array(2)");
    await expect(engine.read("b")).rejects.toThrow("there is no buffer b");
  });
});

describe("a compiled graph", () => {
  test("updates its buffers after every run, each from the values before the run", async () => {
    await allocate("a", 1);
    await allocate("b", 10);
    const graph = new Graph();
    const [a, b] = [graph.buffer("a", [1]), graph.buffer("b", [1])];
    graph.updates.set("a", add(a, b)).set("b", a);
    graph.fetches.set("difference", sub(b, a));
    const step = await engine.compile(graph, { name: "swap" });
    const seen: number[][] = [];
    for (let i = 0; i < 3; i++) {
      const { difference } = await step.run({});
      seen.push([...(await engine.read("a")), ...(await engine.read("b")), ...(difference ?? [])]);
    }
    expect(seen).toEqual([
      [11, 1, 9],
      [12, 11, -10],
      [23, 12, -1],
    ]);
  });

  test("shares its buffers with other graphs", async () => {
    await allocate("w", 1, 2);
    const grow = new Graph();
    grow.updates.set("w", mul(grow.buffer("w", [2]), 2));
    const read = new Graph();
    read.fetches.set("sum", reduceSum(mul(read.buffer("w", [2]), read.feed("x", [2]))));
    const growing = await engine.compile(grow, { name: "grow" });
    const reading = await engine.compile(read, { name: "read" });
    await growing.run({});
    expect(await reading.run({ x: floats(1, 1) })).toEqual({ sum: floats(6) });
    await engine.write("w", floats(5, 5));
    await growing.run({});
    expect(await reading.run({ x: floats(1, 0.5) })).toEqual({ sum: floats(15) });
  });

  test("fetches a feed, a buffer and one value under two names", async () => {
    await allocate("w", 7);
    const graph = new Graph();
    const x = graph.feed("x", [1]);
    const y = mul(x, 3);
    graph.fetches
      .set("x", x)
      .set("w", graph.buffer("w", [1]))
      .set("y", y)
      .set("again", y);
    const executable = await engine.compile(graph, { name: "names" });
    const expected = { x: floats(2), w: floats(7), y: floats(6), again: floats(6) };
    expect(await executable.run({ x: floats(2) })).toEqual(expected);
  });

  test("takes an array that is part of a larger one without touching the rest", async () => {
    const graph = new Graph();
    graph.fetches.set("y", mul(graph.feed("x", [2]), 2));
    const executable = await engine.compile(graph, { name: "part" });
    const whole = floats(0, 1, 2, 3);
    expect(await executable.run({ x: whole.subarray(1, 3) })).toEqual({ y: floats(2, 4) });
    expect(whole).toEqual(floats(0, 1, 2, 3));
  });

  test("takes an optimizer step that only updates its buffers in place, with the numbers of the operators it stands for", async () => {
    const attrs = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1 };
    const graph = new Graph();
    for (const place of ["fused", "apart"]) {
      const names = ["w", "m", "v"].map((name) => `${place}.${name}`);
      await allocate(names[0] ?? "", 1, -2, 3);
      await allocate(names[1] ?? "", 0.1, 0.2, -0.3);
      await allocate(names[2] ?? "", 0.01, 0.5, 0.02);
      const [w, m, v] = names.map((name) => graph.buffer(name, [3]));
      if (!w || !m || !v) throw new Error("three buffers");
      const grad = mul(graph.feed("grad", [3]), graph.feed("clip", []));
      const scalars = [graph.feed("rate", []), graph.feed("c1", []), graph.feed("c2", [])] as const;
      const outputs = graph.emit("AdamW", [w, m, v, grad, ...scalars], attrs);
      outputs.forEach((output, i) => graph.updates.set(names[i] ?? "", output));
      // Reading a result keeps the second one from being done in place.
      if (place === "apart") graph.fetches.set("sum", reduceSum(outputs[0]));
    }
    const step = await engine.compile(graph, { name: "adamw" });
    for (let i = 1; i < 4; i++) {
      const feeds = { clip: floats(0.5), rate: floats(0.01), c1: floats(1 - 0.9 ** i), c2: floats(1 - 0.99 ** i) };
      await step.run({ grad: floats(0.3, -1, 2 / i), ...feeds });
    }
    for (const name of ["w", "m", "v"]) {
      const [fused, apart] = [await engine.read(`fused.${name}`), await engine.read(`apart.${name}`)];
      fused.forEach((value, i) => expect(value).toBeCloseTo(apart[i] ?? NaN, 6));
    }
    expect((await engine.read("fused.w"))[0]).not.toBe(1);
  });

  test("gives the same bytes at every run, with several threads", async () => {
    const [rows, columns] = [257, 263];
    const graph = new Graph();
    const x = graph.feed("x", [rows, columns]);
    const y = softmax(silu(matmul(x, x, { transB: true })));
    graph.fetches
      .set("y", y)
      .set("sum", reduceSum(mul(y, y)))
      .set("columns", reduceSum(y, [0]));
    const executable = await engine.compile(graph, { name: "repeat" });
    const feed = (): Float32Array => Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 12.9898));
    const first = await executable.run({ x: feed() });
    const bytesOf = (results: Record<string, TensorData>): string[] =>
      Object.values(results).map(({ buffer }) => createHash("sha256").update(new Uint8Array(buffer)).digest("hex"));
    for (let i = 0; i < 5; i++) expect(bytesOf(await executable.run({ x: feed() }))).toEqual(bytesOf(first));
  });

  test("is refused, with names and shapes, when its buffers are not there or other than it needs", async () => {
    await allocate("w", 1, 2);
    const missing = new Graph();
    missing.fetches.set("y", missing.buffer("u", [1]));
    await expect(engine.compile(missing, { name: "g" })).rejects.toThrow("g reads buffer u, which was not allocated");
    const misshapen = new Graph();
    misshapen.fetches.set("y", misshapen.buffer("w", [3]));
    await expect(engine.compile(misshapen, { name: "g" })).rejects.toThrow("g needs buffer w as f32[3], it is f32[2]");
    const wrongUpdate = new Graph();
    wrongUpdate.updates.set("w", mul(wrongUpdate.feed("x", [1]), 2));
    await expect(engine.compile(wrongUpdate, { name: "g" })).rejects.toThrow("g updates buffer w with f32[1], it is f32[2]");
    const half = new Graph();
    half.fetches.set("y", half.feed("x", [1], "float16"));
    await expect(engine.compile(half, { name: "g" })).rejects.toThrow(/float16/);
  });

  test("runs only with exactly its feeds", async () => {
    const graph = new Graph();
    graph.fetches.set("y", add(graph.feed("a", [2]), graph.feed("b", [])));
    const executable = await engine.compile(graph, { name: "g" });
    const a = (): Float32Array => floats(1, 2);
    await expect(executable.run({ a: a() })).rejects.toThrow("g was run without feed b (f32[])");
    await expect(executable.run({ a: floats(1), b: floats(1) })).rejects.toThrow("feed a of g is f32[2], got Float32Array(1)");
    await expect(executable.run({ a: a(), b: floats(1), c: a() })).rejects.toThrow("g has no feed c; it has a, b");
    expect(await executable.run({ a: a(), b: floats(1) })).toEqual({ y: floats(2, 3) });
  });

  test("does not run once it is disposed of", async () => {
    const graph = new Graph();
    graph.fetches.set("y", mul(graph.feed("x", [1]), 2));
    const executable = await engine.compile(graph, { name: "g" });
    await executable.dispose();
    await executable.dispose();
    await expect(executable.run({ x: floats(1) })).rejects.toThrow("g was disposed of");
  });
});

describe("the engine", () => {
  test("ends with calls under way done, and refuses later ones", async () => {
    const other = await createOrtEngine({ threads: 1 });
    const allocation = other.allocate({ name: "a", shape: [1], dtype: "float32" }, { kind: "zeros" });
    await other.dispose();
    await allocation;
    await other.dispose();
    await expect(other.read("a")).rejects.toThrow("the engine was disposed of");
  });

  test("reports an error of its thread to the call that caused it, and lives on", async () => {
    await make({ name: "table", shape: [2, 1], dtype: "float32" }, { kind: "zeros" });
    const graph = new Graph();
    const rows = graph.emit("Gather", [graph.buffer("table", [2, 1]), graph.feed("rows", [1], "int32")], {});
    graph.fetches.set("y", rows[0]);
    const executable = await engine.compile(graph, { name: "g" });
    await expect(executable.run({ rows: Int32Array.of(5) })).rejects.toThrow(/out of data bounds/);
    expect(await executable.run({ rows: Int32Array.of(1) })).toEqual({ y: floats(0) });
  });

  test("says what it is, and measures its rates when asked", async () => {
    expect(engine.profile).toMatchObject({ engine: "ort", threads: 2, dtypes: ["float32", "int32"] });
    expect(engine.profile.memoryBytes).toBeGreaterThan(2 ** 28);
    const measured = await engine.measureProfile();
    expect(measured.flopsPerSecond).toBeGreaterThan(1e8);
    expect(measured.bytesPerSecond).toBeGreaterThan(1e7);
    for (const { fixedSeconds, workPerSecond } of Object.values(measured.kinds ?? {})) {
      expect(fixedSeconds).toBeGreaterThanOrEqual(0);
      expect(fixedSeconds).toBeLessThan(1);
      expect(workPerSecond).toBeGreaterThan(1e6);
    }
    expect(Object.keys(measured.kinds ?? {})).toEqual(["product", "convolution", "elementwise", "lowRank"]);
    expect(engine.profile).toEqual(measured);
    expect((await engine.memory()).bufferBytes).toBe(0);
  });
});
