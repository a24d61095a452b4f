/** What cannot be had on a test machine, simulated: drivers, versions, a GPU's failures and CUDA graphs. Nothing may be left running. */
import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTorchEngine, type TorchEngine } from "../../src/engines/torch/engine.ts";
import { isOutOfMemory } from "../../src/engines/out-of-memory.ts";
import { workerScript } from "../../src/engines/torch/launch.ts";
import { serialize } from "../../src/engines/torch/serialize.ts";
import { add, expand, mul, reduceSum, sigmoid } from "../../src/graph/build.ts";
import { Graph } from "../../src/graph/graph.ts";
import { endsWithin, failureOf } from "./ends.ts";
import { describeTorch, openTorch, python } from "./python.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "gesso-torch-failures-"));
});
afterAll(() => rm(folder, { recursive: true }));

let made = 0;

/** An interpreter that runs these lines before anything else, and notes its process. */
async function pythonWith(lines: string): Promise<{ readonly python: string; readonly isGone: () => Promise<boolean> }> {
  const own = path.join(folder, String(made++));
  await mkdir(own);
  const pidFile = path.join(own, "pid");
  await writeFile(
    path.join(own, "sitecustomize.py"),
    `import os\nopen(${JSON.stringify(pidFile)}, "w").write(str(os.getpid()))\n${lines}\n`,
  );
  const wrapper = path.join(own, "python");
  await writeFile(wrapper, `#!/bin/sh\nPYTHONPATH="${own}" exec "${python}" "$@"\n`);
  await chmod(wrapper, 0o755);
  return {
    python: wrapper,
    isGone: async () => endsWithin(10, Number(await readFile(pidFile, "utf8"))),
  };
}

const noGpu = "import torch\ntorch.cuda.is_available = lambda: False\n";
const tooOld = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver.";

/** An engine on an interpreter whose sigmoid fails, with a graph that takes it. */
async function openFailing(
  lines: string,
): Promise<{ engine: TorchEngine; run: () => Promise<unknown>; isGone: () => Promise<boolean> }> {
  const { python: own, isGone } = await pythonWith(`import torch\ndef fail(x):\n    ${lines}\ntorch.sigmoid = fail`);
  const engine = await createTorchEngine({ python: own, device: "cpu", threads: 1 });
  const graph = new Graph();
  graph.fetches.set("y", sigmoid(graph.feed("x", [2])));
  const executable = await engine.compile(graph, { name: "step" });
  return { engine, run: () => executable.run({ x: Float32Array.of(1, 2) }), isGone };
}

describeTorch("a failure", () => {
  test.each([
    ["a PyTorch that is too old", 'import torch\ntorch.__version__ = "2.4.1+cu121"', /has PyTorch 2\.4\.1\+cu121, which is too old for Gesso\.$/, "Install PyTorch 2.5 or newer"], // prettier-ignore
    ["a PyTorch for processors", `${noGpu}torch.version.cuda = torch.version.hip = None`, /^A GPU was asked for, but PyTorch .* was built without CUDA and ROCm\.$/, "gesso setup torch"], // prettier-ignore
    ["a driver that is too old", `${noGpu}torch.version.cuda = "13.0"\ndef fail():\n    raise RuntimeError(${JSON.stringify(tooOld)})\ntorch.cuda.init = fail`, /^The graphics driver is too old for this PyTorch: The NVIDIA driver/, "Update the driver"], // prettier-ignore
    ["a machine without a GPU", `${noGpu}torch.version.cuda = "13.0"\ntorch.cuda.init = lambda: None`, /^A GPU was asked for, but there is none that can be used: PyTorch finds no GPU here\.$/, "gesso doctor"], // prettier-ignore
    ["a GPU that is not there", "import torch\ntorch.cuda.is_available = lambda: True\ntorch.cuda.device_count = lambda: 0", /there is no cuda: this machine has 0/, "gesso doctor"], // prettier-ignore
    ["a NumPy that PyTorch cannot use", 'import torch\ndef fail(self):\n    raise RuntimeError("Numpy is not available")\ntorch.Tensor.numpy = fail', /cannot load PyTorch: RuntimeError: Numpy is not available\.$/, "pip install torch numpy"], // prettier-ignore
  ])("%s is told in one sentence with its mend, and no process is left", async (_, lines, message, mend) => {
    const { python: own, isGone } = await pythonWith(lines);
    const error = await failureOf(createTorchEngine({ python: own, device: "cuda", threads: 1 }));
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("\n");
    expect(error.fix).toContain(mend);
    expect(await isGone()).toBe(true);
  });

  test("of the GPU in a step ends the worker, for nothing on it can be trusted any more", async () => {
    const { engine, run, isGone } = await openFailing(
      'raise RuntimeError("CUDA error: an illegal memory access was encountered")',
    );
    const error = await failureOf(run());
    expect(error.message).toBe("The GPU failed: step: Sigmoid: CUDA error: an illegal memory access was encountered");
    expect(error.fix).toContain("--resume");
    expect(await isGone()).toBe(true);
    expect(await failureOf(engine.memory())).toBe(error);
    await engine.dispose();
  });

  test("for want of the GPU's memory leaves the worker alive", async () => {
    const said = "CUDA out of memory. Tried to allocate 2.00 GiB.";
    const { engine, run, isGone } = await openFailing(`raise torch.OutOfMemoryError(${JSON.stringify(said)})`);
    const error = await failureOf(run());
    expect(error.message).toBe(`PyTorch found no memory: step: Sigmoid: ${said}`);
    expect(isOutOfMemory(error)).toBe(true);
    expect((await engine.memory()).bufferBytes).toBe(0);
    await engine.dispose();
    expect(await isGone()).toBe(true);
  });

  test("to allocate what a step needs is a lack of memory on the processor too, and the next step runs", async () => {
    const engine = await openTorch();
    const graph = new Graph();
    const x = graph.feed("x", [1]);
    const row = mul(expand(x, [2 ** 22]), 2);
    graph.fetches.set("y", reduceSum(mul(expand(row, [2 ** 22, 2 ** 22]), x)));
    const executable = await engine.compile(graph, { name: "huge" });
    expect(isOutOfMemory(await failureOf(executable.run({ x: Float32Array.of(1) })))).toBe(true);
    const small = new Graph();
    small.fetches.set("y", mul(small.feed("x", [1]), 2));
    const next = await engine.compile(small, { name: "small" });
    expect(await next.run({ x: Float32Array.of(3) })).toEqual({ y: Float32Array.of(6) });
    await engine.dispose();
  });

  test("is no number that is none: it comes through as it is, for the trainer to judge", async () => {
    const engine = await openTorch();
    const graph = new Graph();
    graph.fetches.set("y", mul(graph.feed("x", [3]), 2));
    const executable = await engine.compile(graph, { name: "double" });
    const numbers = Float32Array.of(NaN, Infinity, -Infinity);
    expect(await executable.run({ x: numbers })).toEqual({ y: numbers });
    await engine.dispose();
  });
});

/**
 * PyTorch's CUDA graphs in the place of which calls are made at once: recording runs the step, replaying does nothing. What is shown is
 * the order of things around them. `FAIL` says at which recording the end of it fails as CUDA's does.
 */
const captureScript = `
import contextlib, json, os, sys, types
import torch
real_empty_like = torch.empty_like
torch.empty_like = lambda x, pin_memory=False, **more: real_empty_like(x, **more)
stream = types.SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)
log = []
torch.cuda.Stream = lambda: stream
torch.cuda.current_stream = lambda: stream
torch.cuda.stream = lambda s: contextlib.nullcontext()
torch.cuda.synchronize = lambda *_: None
torch.cuda.empty_cache = lambda: log.append("empty")
torch.cuda.graph_pool_handle = lambda: f"pool{sum(line.startswith('pool') for line in log)}"
class FakeGraph:
    def replay(self): log.append("replay")
torch.cuda.CUDAGraph = FakeGraph
records = 0
@contextlib.contextmanager
def record(graph, pool, capture_error_mode):
    global records
    records += 1
    log.append(f"pool of record {records}: {pool}")
    if os.environ.get("FAIL") == str(records):
        try:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    yield
    log.append(f"recorded {records}")
torch.cuda.graph = record

from runtime import Runtime
from program import CapturedProgram
runtime = Runtime()
runtime.call_start({"device": "cpu", "threads": 1, "tf32": False, "deterministic": True, "capture": True, "compile": False}, {})
runtime.buffers.allocate({"name": "w", "shape": [2], "dtype": "float32"}, {"kind": "zeros"}, None)
spec = json.loads(os.environ["PROGRAM"])
for i in (0, 1):
    runtime.call_compile({"id": i, "program": {**spec, "name": f"step{i}"}}, {})
    runtime.programs[i] = CapturedProgram(runtime.programs[i])
results = []
for i in (0, 0, 1, 0, 1):
    answer, fetched = runtime.call_run({"id": i, "isShared": False}, {"x": torch.tensor([1.0, 2.0])})
    results.append([i, answer["notes"], runtime.buffers.read("w").tolist()])
print(json.dumps({"log": log, "results": results}))
`;

interface Recording {
  readonly log: readonly string[];
  /** The program, notes, and the buffer after each run. */
  readonly results: readonly (readonly [number, readonly string[], readonly number[]])[];
}

describeTorch("recording steps", () => {
  function record(fail?: string): Recording {
    const graph = new Graph();
    const sum = add(graph.buffer("w", [2]), graph.feed("x", [2]));
    graph.updates.set("w", sum);
    graph.fetches.set("sum", sum);
    const { program } = serialize(graph, "step");
    const env = {
      ...process.env,
      PYTHONPATH: path.dirname(workerScript),
      PROGRAM: JSON.stringify(program),
      ...(fail && { FAIL: fail }),
    };
    const { stdout, stderr } = spawnSync(python ?? "", ["-B", "-c", captureScript], { encoding: "utf8", env });
    if (stdout === "") throw new Error(stderr);
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Recording;
  }

  test("tries each shape without changing a buffer, gives up what was recorded before, and records it again", () => {
    const { log, results } = record();
    // Here recording runs the step once and replaying does not: what is recorded changes the buffer, what is tried does not.
    expect(results.map(([, , w]) => w[0])).toEqual([1, 1, 2, 3, 3]);
    expect(log).toEqual([
      ...["empty", "pool of record 1: pool0", "recorded 1", "replay", "replay"],
      ...["empty", "pool of record 2: pool1", "recorded 2", "replay"],
      // The first one again, beside the second: nothing new is tried.
      ...["pool of record 3: pool1", "recorded 3", "replay", "replay"],
    ]);
    expect(results.flatMap(([, notes]) => notes)).toEqual([]);
  });

  test("that fails lets the step run call by call, and a note says why", () => {
    const { results } = record("2");
    expect(results.map(([, , w]) => w[0])).toEqual([1, 1, 2, 3, 4]);
    expect(results[2]?.[1]).toEqual([
      "step1 runs without a CUDA graph: CUDA error: operation not permitted when stream is capturing",
    ]);
  });
});
