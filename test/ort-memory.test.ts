/** What the CPU engine says that a run takes, against ONNX Runtime's own account of it. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { grad } from "../src/autodiff/grad.ts";
import { Arena } from "../src/engines/ort/arena.ts";
import type { ModelContents } from "../src/engines/ort/emit.ts";
import { ortFacts } from "../src/engines/ort/engine.ts";
import { buildModel } from "../src/engines/ort/lower.ts";
import { countRun } from "../src/engines/ort/run-memory.ts";
import { mul, reduceSum, square } from "../src/graph/build.ts";
import { byteSizeOf, Graph, sizeOf, type Value } from "../src/graph/graph.ts";
import type { OpName } from "../src/graph/ops.ts";
import { optimise } from "../src/graph/passes.ts";
import { attentionLayer } from "../src/nn/attention.ts";
import { conv, layerNorm, linear } from "../src/nn/layers.ts";
import { createParams } from "../src/nn/params.ts";
import { downsample, resnetBlock, upsample } from "../src/nn/resnet.ts";
import { buildExample, type Example, operatorExamples } from "./operator-examples.ts";

const threads = 2;
const nowhere: ReadonlySet<string> = new Set();

/** One node as ONNX Runtime's profile tells of it: bytes that values asked for, and bytes of the arena's chunks that hold them. */
interface Event {
  readonly name: string;
  readonly requested: number;
  readonly chunks: number;
}

/** Runs a model once, on numbers that do not matter. */
async function profile(bytes: Uint8Array, { inputs }: ModelContents): Promise<readonly Event[]> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "gesso-ort-"));
  try {
    const session = await InferenceSession.create(bytes, {
      intraOpNumThreads: threads,
      graphOptimizationLevel: "disabled",
      enableMemPattern: false,
      enableProfiling: true,
      profileFilePrefix: path.join(folder, "profile"),
    });
    const feeds = [...inputs].map(([name, { shape }]) => [name, new Tensor("float32", new Float32Array(sizeOf(shape)), shape)]);
    await session.run(Object.fromEntries(feeds) as Record<string, Tensor>);
    session.endProfiling();
    await session.release();
    const [file = ""] = await readdir(folder);
    const events = JSON.parse(await readFile(path.join(folder, file), "utf8")) as {
      cat: string;
      name: string;
      args: Record<string, string>;
    }[];
    return events
      .filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"))
      .map(({ name, args }) => ({
        name: name.replace(/_kernel_time$/, ""),
        requested: Number(args.mem_bytes_requested_in_use),
        chunks: Number(args.mem_bytes_in_use),
      }));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Forward and backward of all that a UNet is made of: odd sizes, a batch above 1, stride 2, a wider convolution than its picture. */
function networkGraph(): Graph {
  const graph = new Graph();
  const params = createParams(graph, "net");
  const x = graph.buffer("x", [2, 16, 13, 9]);
  let h: Value = resnetBlock(params.at("first"), x, graph.buffer("time", [2, 24]), { channels: 32, groups: 8, eps: 1e-5 });
  h = downsample(params.at("down"), h, 1);
  h = resnetBlock(params.at("second"), h, undefined, { channels: 64, groups: 8, eps: 1e-5 });
  h = upsample(params.at("up"), h);
  h = conv(params.at("out"), h, 4, { kernel: 3, padding: 1 });
  const tokens = graph.buffer("tokens", [2, 40, 24]);
  const mixed = attentionLayer(params.at("attention"), layerNorm(params.at("norm"), tokens, 1e-5), tokens, {
    heads: 3,
    qkvBias: false,
  });
  const y = linear(params.at("last"), mixed, 8);
  const loss = mul(reduceSum(square(h)), reduceSum(square(y)));
  graph.fetches.set("loss", loss);
  const inputs = graph.inputs.map(({ outputs: [value] }) => value);
  grad(loss, inputs).forEach((gradient, i) => graph.fetches.set(`gradient ${i}`, gradient));
  return optimise(graph, { keep: ortFacts.composites });
}

test("a run takes after every node what ONNX Runtime's own account says, values and chunks", async () => {
  const { model } = buildModel(networkGraph());
  const contents = model.contents();
  const events = await profile(model.toBytes(), contents);
  const counted: { name: string; requested: number; chunks: number }[] = [];
  countRun(contents, threads, nowhere, ({ name }, arena) =>
    counted.push({ name, requested: arena.liveBytes, chunks: arena.chunkBytes }),
  );
  // Constants are in ONNX Runtime's account, before the first node and to the end.
  const [first, own] = [events[0], counted[0]];
  const constants = {
    requested: (first?.requested ?? 0) - (own?.requested ?? 0),
    chunks: (first?.chunks ?? 0) - (own?.chunks ?? 0),
  };
  const withConstants = counted.map(({ name, requested, chunks }) => ({
    name,
    requested: requested + constants.requested,
    chunks: chunks + constants.chunks,
  }));
  expect(withConstants.length).toBeGreaterThan(300);
  expect(withConstants).toEqual(events);
});

describe("shapes of all values are known without running", () => {
  const opNames = Object.keys(operatorExamples) as OpName[];
  for (const op of opNames) {
    const examples = operatorExamples[op] as readonly Example[];
    examples.forEach((example) =>
      test(`${op}: ${example.title}`, () => {
        const { graph } = buildExample(op, example);
        const { outputBytes } = countRun(buildModel(graph).model.contents(), threads, nowhere);
        expect(outputBytes).toBe([...graph.fetches.values()].reduce((sum, value) => sum + byteSizeOf(value), 0));
      }),
    );
  }
});

describe("an arena", () => {
  const mega = 2 ** 20;

  test("puts what fits in a hole there, and holds what it once wrote", () => {
    const arena = new Arena();
    const [first, second] = [arena.allocate(mega / 4), arena.allocate(mega / 4)];
    arena.free(first);
    const third = arena.allocate(mega / 8);
    expect([third.start, second.start]).toEqual([0, mega / 4]);
    arena.free(second);
    arena.free(third);
    // Half of the region was written, and its table has 8 bytes for every 256.
    expect(arena.heldBytes).toBe(mega / 2 + mega / 32);
    expect([arena.liveBytes, arena.peakLiveBytes]).toEqual([0, mega / 2]);
  });

  test("joins holes that lie side by side", () => {
    const arena = new Arena();
    const chunks = Array.from({ length: 4 }, () => arena.allocate(mega / 4));
    for (const chunk of chunks) arena.free(chunk);
    expect(arena.allocate(mega).start).toBe(0);
    expect(arena.heldBytes).toBe(mega + mega / 32);
  });

  test("leaves a chunk whole that is not twice as large as what is asked for, and makes its regions larger and larger", () => {
    const arena = new Arena();
    const chunk = arena.allocate(5 * mega);
    expect(chunk.bytes).toBe(8 * mega);
    arena.allocate(256);
    arena.allocate(9 * mega);
    // Regions of 8, 8 and 16.
    expect(arena.heldBytes).toBe(5 * mega + 256 + 9 * mega + (32 * mega) / 32);
  });
});
