/** The worker itself: buffers from files, failures, and that it never outlives who started it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { chooseEngine } from "../../src/engines/choose.ts";
import { createTorchEngine, type TorchEngine } from "../../src/engines/torch/engine.ts";
import { float32ToFloat16 } from "../../src/formats/float16.ts";
import { grad } from "../../src/autodiff/grad.ts";
import { add, attention, layerNorm, matmul, mul, reduceSum, silu, sub } from "../../src/graph/build.ts";
import { Graph } from "../../src/graph/graph.ts";
import { createRandom } from "../operator-examples.ts";
import { endsWithin, failureOf } from "./ends.ts";
import { describeTorch, openTorch, python } from "./python.ts";

describeTorch("the worker", () => {
  let folder: string;
  let engine: TorchEngine;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "gesso-torch-"));
    engine = await openTorch();
  });
  afterAll(async () => {
    await engine.dispose();
    await rm(folder, { recursive: true });
  });

  test("keeps buffers, updates them after everything was read, and counts their bytes", async () => {
    const float32 = "float32" as const;
    for (const name of ["a", "b"]) await engine.allocate({ name, shape: [2], dtype: float32 }, { kind: "zeros" });
    await engine.write("a", Float32Array.of(1, 2));
    const graph = new Graph();
    const [a, b] = [graph.buffer("a", [2]), graph.buffer("b", [2])];
    graph.updates.set("a", add(b, graph.feed("x", [2]))).set("b", a);
    graph.fetches.set("a", a).set("sum", reduceSum(a));
    const executable = await engine.compile(graph, { name: "swap" });
    expect(await executable.run({ x: Float32Array.of(5, 6) })).toEqual({ a: Float32Array.of(1, 2), sum: Float32Array.of(3) });
    expect(await engine.read("a")).toEqual(Float32Array.of(5, 6));
    expect(await engine.read("b")).toEqual(Float32Array.of(1, 2));
    const { bufferBytes, residentBytes, peakBytes } = await engine.memory();
    expect(bufferBytes).toBe(16);
    expect(residentBytes).toBeGreaterThan(0);
    expect(peakBytes).toBeGreaterThanOrEqual(residentBytes);
    await executable.dispose();
    await expect(executable.run({ x: Float32Array.of(5, 6) })).rejects.toThrow("swap was disposed of");
    for (const name of ["a", "b"]) await engine.free(name);
  });

  test("reads a range of a file straight to the buffer's type", async () => {
    const file = path.join(folder, "weights.bin");
    const narrow = float32ToFloat16(Float32Array.of(0.5, -0.25, 8));
    await writeFile(file, Buffer.concat([Buffer.alloc(7), Buffer.from(narrow.buffer as ArrayBuffer)]));
    const source = { kind: "file", path: file, offset: 7, byteLength: 6, storedDtype: "F16" } as const;
    for (const dtype of ["float32", "bfloat16", "float16"] as const) {
      await engine.allocate({ name: dtype, shape: [3], dtype }, source);
      expect(await engine.read(dtype)).toEqual(Float32Array.of(0.5, -0.25, 8));
      await engine.free(dtype);
    }
    const short = await failureOf(engine.allocate({ name: "w", shape: [3], dtype: "float32" }, { ...source, offset: 9 }));
    expect(short.message).toContain("ends before the weights of w");
    const gone = { ...source, path: path.join(folder, "gone") };
    expect((await failureOf(engine.allocate({ name: "w", shape: [3], dtype: "float32" }, gone))).message).toContain("gone");
    await engine.allocate({ name: "w", shape: [3], dtype: "float32" }, { kind: "zeros" }); // The name is free again.
    await engine.free("w");
  });

  test("turns a range that the file holds transposed, and refuses numbers that are not finite by the file's key", async () => {
    const file = path.join(folder, "turned.bin");
    await writeFile(file, Buffer.from(Float32Array.of(1, 2, 3, 4, 5, NaN).buffer));
    const source = { kind: "file", path: file, offset: 0, byteLength: 16, storedDtype: "F32", transposedFrom: [2, 2] } as const;
    await engine.allocate({ name: "turned", shape: [2, 2], dtype: "float32" }, source);
    expect(await engine.read("turned")).toEqual(Float32Array.of(1, 3, 2, 4));
    await engine.free("turned");
    const broken = { kind: "file", path: file, offset: 16, byteLength: 8, storedDtype: "F32", key: "a.key" } as const;
    const failure = await failureOf(engine.allocate({ name: "w", shape: [2], dtype: "float32" }, broken));
    expect(failure.message).toContain("a.key holds numbers that are not finite in float32");
  });

  test("tells of memory that it cannot have, and lives on", async () => {
    const huge = engine.allocate({ name: "huge", shape: [2 ** 22, 2 ** 22], dtype: "float32" }, { kind: "zeros" });
    expect((await failureOf(huge)).message).toContain("PyTorch found no memory");
    expect((await engine.memory()).bufferBytes).toBe(0);
  });

  test("names the operator and its place when a step fails", async () => {
    const graph = new Graph();
    graph.fetches.set(
      "y",
      graph.scope("block.norm", () => mul(graph.feed("x", [2]), graph.buffer("lost", [2]))),
    );
    await engine.allocate({ name: "lost", shape: [2], dtype: "float32" }, { kind: "zeros" });
    const executable = await engine.compile(graph, { name: "step" });
    await engine.free("lost");
    await expect(executable.run({ x: Float32Array.of(1, 2) })).rejects.toThrow("lost");
  });

  test("is gone when its engine is disposed of, and when the program that started it is killed", async () => {
    const own = await openTorch();
    const { pid } = own.device;
    await own.dispose();
    expect(await endsWithin(20, pid)).toBe(true);
    await expect(own.memory()).rejects.toThrow("the engine was disposed of");

    const script = path.join(import.meta.dirname, "start-child.ts");
    const child = spawn(process.execPath, ["--import", "tsx", script, python ?? ""], { stdio: ["ignore", "pipe", "inherit"] });
    const [text] = (await once(child.stdout, "data")) as [Buffer];
    const orphan = Number(text.toString());
    expect(orphan).toBeGreaterThan(0);
    child.kill("SIGKILL");
    expect(await endsWithin(20, orphan)).toBe(true);
  });

  test("says what is wrong: no PyTorch in a Python, no GPU, no such engine to be found", async () => {
    // An interpreter that sees a torch which cannot be loaded.
    const shadow = path.join(folder, "shadow");
    await mkdir(shadow);
    await writeFile(path.join(shadow, "torch.py"), 'raise ModuleNotFoundError("No module named \'torch\'", name="torch")\n');
    const wrapper = path.join(folder, "python");
    await writeFile(wrapper, `#!/bin/sh\nPYTHONPATH="${shadow}" exec "${python}" "$@"\n`);
    await chmod(wrapper, 0o755);
    const noTorch = await failureOf(createTorchEngine({ python: wrapper }));
    expect(noTorch.message).toBe(`${wrapper} cannot load PyTorch: No module named 'torch'.`);
    const none = await failureOf(createTorchEngine({ python: python ?? "", device: "cuda:99" }));
    expect(none.message).toMatch(/^A GPU was asked for, but/);
    const auto = await chooseEngine({ python }, {});
    if (engine.device.device === "cpu" && auto.engine === "ort") expect(auto.reason).toContain("no GPU that it can use");
    const chosen = await chooseEngine({ engine: "torch", python, device: "cpu" }, {});
    expect(chosen).toMatchObject({ engine: "torch", device: "cpu", precision: "float32", python });
  });

  test("measures its rates", async () => {
    const { flopsPerSecond, bytesPerSecond, name } = await engine.measureProfile();
    expect(name).toContain(`PyTorch ${engine.device.torch}`);
    expect(flopsPerSecond).toBeGreaterThan(1e8);
    expect(bytesPerSecond).toBeGreaterThan(1e7);
  });
});

describeTorch("PyTorch's compiler", () => {
  test("gives what the plain calls give, gradients of attention and norms among them", async () => {
    const build = (): Graph => {
      const graph = new Graph();
      const [x, w, scale] = [graph.feed("x", [1, 2, 6, 8]), graph.buffer("w", [8, 8]), graph.buffer("scale", [8])];
      const normed = layerNorm(x, scale, scale, 1e-5);
      const y = silu(attention(matmul(normed, w), normed, normed, 0.5));
      const loss = reduceSum(mul(y, y));
      const [dw] = grad(loss, [w]);
      if (!dw) throw new Error("no gradient");
      graph.fetches.set("loss", loss).set("dw", dw);
      graph.updates.set("w", sub(w, mul(dw, 0.01)));
      return graph;
    };
    const random = createRandom(3);
    const numbers = (count: number) => Float32Array.from({ length: count }, () => random() - 0.5);
    const [x, w, scale] = [numbers(96), numbers(64), numbers(8)];
    const run = async (compile: boolean) => {
      const engine = await openTorch("float32", { compile });
      try {
        await engine.allocate({ name: "w", shape: [8, 8], dtype: "float32" }, { kind: "data", data: w.slice() });
        await engine.allocate({ name: "scale", shape: [8], dtype: "float32" }, { kind: "data", data: scale.slice() });
        const executable = await engine.compile(build(), { name: "step" });
        const fetched = [await executable.run({ x: x.slice() }), await executable.run({ x: x.slice() })];
        return [...fetched.flatMap(({ loss, dw }) => [...(loss ?? []), ...(dw ?? [])]), ...(await engine.read("w"))];
      } finally {
        await engine.dispose();
      }
    };
    const [plain, compiled] = [await run(false), await run(true)];
    expect(plain).toHaveLength(2 * 65 + 64);
    compiled.forEach((value, i) => expect(value).toBeCloseTo(plain[i] ?? NaN, 5));
  });
});
