/** What narrower types of the base's weights change: a network's output, the gradients of its LoRA, and what a short training learns. */
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { grad } from "../src/autodiff/grad.ts";
import type { BaseModel, BaseWeight } from "../src/checkpoints/base.ts";
import { type PlannedRun, planRun } from "../src/cli/plan-run.ts";
import { normal } from "../src/diffusion/philox.ts";
import type { TensorData } from "../src/engines/engine.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { createTorchEngine } from "../src/engines/torch/engine.ts";
import { UserError } from "../src/errors.ts";
import { type FloatDType, type Graph, type QuantisedDType, type Shape, sizeOf } from "../src/graph/graph.ts";
import { type EngineRequest, openBase, train } from "../src/index.ts";
import { adapterBufferNames, adapterShapes } from "../src/lora/inject.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { listUnetParameters } from "../src/models/unet/model.ts";
import { findAdapterTargets } from "../src/planner/targets.ts";
import { buildDenoiser } from "../src/trainer/denoiser.ts";
import type { Sample } from "../src/trainer/feeds.ts";
import { denoisingLoss } from "../src/trainer/objective.ts";
import { prepareRun } from "../src/trainer/prepare.ts";
import { runPaths } from "../src/trainer/run-folder.ts";
import { createWeightStore } from "../src/trainer/weights.ts";
import { type BenchOptions, type Claim, row } from "./claim.ts";
import { sdxlTextEncoders, sdxlUnet } from "./sdxl-graph.ts";

interface Variant {
  readonly precision: FloatDType;
  readonly basePrecision?: QuantisedDType;
}

const variants = {
  float32: { precision: "float32" },
  bfloat16: { precision: "bfloat16" },
  int8: { precision: "bfloat16", basePrecision: "int8" },
  nf4: { precision: "bfloat16", basePrecision: "nf4" },
} as const satisfies Record<string, Variant>;
type Name = keyof typeof variants;
const names = Object.keys(variants) as Name[];
/** What is told of what: the weights of int8 and NF4 are computed with in bfloat16. */
const comparisons: readonly (readonly [Name, Name])[] = [
  ["bfloat16", "float32"],
  ["int8", "bfloat16"],
  ["nf4", "bfloat16"],
];

const rank = 8;
const trainingSteps = 40;
/** As large as an adapter's second half is after a short training. */
const upDeviation = 1e-2;

interface Network {
  readonly title: string;
  readonly base: Pick<BaseModel, "unet" | "textEncoders" | "weights">;
  readonly batch: number;
  /** Of the latents. */
  readonly side: number;
  /** Feeds by name; random numbers for the others. */
  readonly feeds: Readonly<Record<string, TensorData>>;
}

export const quantised: Claim = {
  name: "quantised",
  about:
    "what bfloat16, int8 and NF4 base weights change: output, LoRA gradient, held-out loss; on the processor, needs --python",
  onlyWhenNamed: true,
  async run(options) {
    const { python, machine } = options;
    if (python === undefined) throw new UserError("quantised needs --python with torch.", { exitCode: 2 });
    const lines: string[] = [quantised.about, ...machine];
    const folder = await mkdtemp(path.join(tmpdir(), "gesso-quantised-"));
    try {
      for (const network of [await miniNetwork(folder), await sdxlWidthNetwork(folder)]) {
        lines.push(...(await compareNetwork(network, python, options)));
      }
      return [...lines, ...(await compareTrainings(folder, python))];
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

/** On pictures and captions of an example, noised: on what it was not trained for, its gradients follow every rounding. */
async function miniNetwork(folder: string): Promise<Network> {
  const { plan } = await planMini(path.join(folder, "feeds"), { engine: "ort" });
  const paths = runPaths(plan.runFolder.value, plan.name.value);
  const preparing = prepareRun(plan, paths, { createEngine: () => createOrtEngine(), hashCacheFile: undefined });
  let next = await preparing.next();
  while (!next.done) next = await preparing.next();
  const prepared = next.value;
  const { run, encoded, feeds } = prepared;
  const samples = run.pictures.slice(0, 4).map(({ caption }, i): Sample => {
    return { picture: encoded(i, false), caption, noise: feeds.noise(1, i, [16, 16]), timestep: 200 + 200 * i };
  });
  const made = feeds.batch(samples);
  await prepared.dispose();
  const title = "mini's UNet on four pictures of the blueprint style, at timesteps 200 to 800";
  return { title, base: await openBase("mini"), batch: 4, side: 16, feeds: made };
}

/** SDXL's blocks of one width, once down, once in the middle, once up; weights as layers are initialised with, written to a file. */
async function sdxlWidthNetwork(folder: string): Promise<Network> {
  const unet = parseUnetConfig({
    ...sdxlUnet,
    ...{ block_out_channels: [640], down_block_types: ["CrossAttnDownBlock2D"], up_block_types: ["CrossAttnUpBlock2D"] },
    ...{ attention_head_dim: [10], transformer_layers_per_block: [2], layers_per_block: 1 },
  });
  const file = path.join(folder, "weights.bin");
  const handle = await open(file, "w");
  const weights = new Map<string, BaseWeight>();
  let offset = 0;
  for (const [i, { name, shape }] of listUnetParameters(unet).entries()) {
    const data = initialWeight(name, shape, i);
    const byteLength = data.byteLength;
    await handle.write(new Uint8Array(data.buffer), 0, byteLength, offset);
    weights.set(name, { shape, source: { kind: "file", path: file, offset, byteLength, storedDtype: "F32" } });
    offset += byteLength;
  }
  await handle.close();
  const base = { unet, textEncoders: await sdxlTextEncoders(), weights };
  return { title: "SDXL's blocks at width 640, batch 1, 32 x 32 latents", base, batch: 1, side: 32, feeds: {} };
}

function initialWeight(name: string, shape: Shape, sample: number): Float32Array {
  if (name.endsWith(".bias")) return new Float32Array(sizeOf(shape));
  if (shape.length === 1) return new Float32Array(sizeOf(shape)).fill(1);
  const deviation = 1 / Math.sqrt(sizeOf(shape.slice(1)));
  return normal({ seed: 1, purpose: "init", sample }, sizeOf(shape)).map((x) => deviation * x);
}

interface Outcome {
  readonly output: Float32Array;
  readonly gradient: Float32Array;
}

async function compareNetwork(network: Network, python: string, options: BenchOptions): Promise<readonly string[]> {
  const outcomes = {} as Record<Name, Outcome>;
  for (const name of names) outcomes[name] = await runNetwork(network, variants[name], python, options.threads);
  const rows = comparisons.map(([name, reference]) => {
    const [a, b] = [outcomes[name], outcomes[reference]];
    const errors = `output ${percent(distance(a.output, b.output))}, LoRA gradient ${percent(distance(a.gradient, b.gradient))}`;
    return row(name, `${errors} from ${reference}'s`);
  });
  return [`${network.title}; rank ${rank} on attention: norm of the difference over the norm`, ...rows];
}

/** The prediction, and the gradient of every adapter, one behind the other. */
async function runNetwork(
  network: Network,
  { precision, basePrecision }: Variant,
  python: string,
  threads: number,
): Promise<Outcome> {
  const { base, batch, side } = network;
  const targets = findAdapterTargets(base, "attention", false);
  const adapters = targets.map(({ path: target }) => ({ path: target, rank, alpha: rank }));
  const graph = buildDenoiser(base, { shape: { batch, height: side, width: side }, adapters, text: "embeddings" });
  const gradients = appendGradients(graph);
  const engine = await createTorchEngine({ python, device: "cpu", precision, threads });
  try {
    for (const [i, target] of targets.entries()) {
      const [buffers, shapes] = [adapterBufferNames(target), adapterShapes(target.weightShape, rank)];
      for (const [half, deviation] of [
        ["down", 1 / Math.sqrt(shapes.down[1] ?? 1)],
        ["up", upDeviation],
      ] as const) {
        const numbers = normal({ seed: 2, purpose: "init", sample: 2 * i + (half === "up" ? 1 : 0) }, sizeOf(shapes[half]));
        const data = numbers.map((x) => deviation * x);
        await engine.allocate({ name: buffers[half], shape: shapes[half], dtype: "float32" }, { kind: "data", data });
      }
    }
    const store = createWeightStore(engine, base, basePrecision ? { basePrecision } : {});
    const executable = await store.compile(graph, "quantised");
    const fetched = await executable.run({ ...feedsOf(graph), ...network.feeds });
    const gradient = gradients.flatMap((name) => [...(fetched[name] ?? [])]);
    return { output: fetched["prediction"] as Float32Array, gradient: Float32Array.from(gradient) };
  } finally {
    await engine.dispose();
  }
}

/** Fetches the gradients of the mean squared error for the adapters. @returns the names of the fetches */
function appendGradients(graph: Graph): readonly string[] {
  const prediction = graph.fetches.get("prediction");
  if (!prediction) throw new Error("quantised: the denoiser must fetch its prediction");
  const { loss } = denoisingLoss(prediction, { masked: false });
  const trained = graph.inputs.filter(({ attrs: { kind, name } }) => kind === "buffer" && name.startsWith("adapter."));
  const gradients = grad(loss, trained.map(({ outputs: [value] }) => value)); // prettier-ignore
  return trained.map(({ attrs: { name } }, i) => {
    const gradient = gradients[i];
    if (gradient) graph.fetches.set(`${name}.grad`, gradient);
    return `${name}.grad`;
  });
}

/** Normal numbers, but for what tells times and sizes. */
function feedsOf(graph: Graph): Record<string, Float32Array> {
  const known: Readonly<Record<string, number>> = { timesteps: 400, timeIds: 512, lossWeights: 1 };
  return Object.fromEntries(
    graph.inputs.flatMap(({ attrs }, sample) => {
      if (attrs.kind !== "feed") return [];
      const value = known[attrs.name];
      const count = sizeOf(attrs.shape);
      return [
        [
          attrs.name,
          value === undefined ? normal({ seed: 3, purpose: "noise", sample }, count) : new Float32Array(count).fill(value),
        ],
      ];
    }),
  );
}

/** Euclidean norm of the difference over that of the reference. */
function distance(actual: Float32Array, reference: Float32Array): number {
  const square = (sum: number, x: number): number => sum + x * x;
  return Math.sqrt(reference.map((x, i) => (actual[i] ?? NaN) - x).reduce(square, 0) / reference.reduce(square, 0));
}

function percent(share: number): string {
  return `${(100 * share).toPrecision(2)} %`;
}

async function compareTrainings(folder: string, python: string): Promise<readonly string[]> {
  const losses = {} as Record<Name, Losses>;
  for (const name of names) losses[name] = await trainMini(path.join(folder, name), variants[name], python);
  const rows = names.map((name) => {
    const { heldOut, ratio } = losses[name];
    const reference = comparisons.find(([own]) => own === name)?.[1];
    const other = reference && losses[reference].heldOut;
    const against = other === undefined ? "" : `; ${percent((heldOut - other) / other)} above ${reference}'s`;
    return row(name, `held-out loss ${heldOut.toFixed(5)}, ${ratio.toFixed(4)} of the base's${against}`);
  });
  return [`mini on the blueprint style, ${trainingSteps} steps`, ...rows];
}

interface Losses {
  readonly heldOut: number;
  /** To the base's own, in the same types. */
  readonly ratio: number;
}

/** The last measurement of a run. */
async function trainMini(runFolder: string, variant: Variant, python: string): Promise<Losses> {
  const { plan } = await planMini(runFolder, { engine: "torch", python, device: "cpu", ...variant });
  let last: Losses = { heldOut: NaN, ratio: NaN };
  for await (const event of train(plan)) {
    if (event.type === "validation") last = { heldOut: event.heldOut ?? NaN, ratio: event.ratio };
    if (event.type === "failed") throw new Error(`quantised: a training failed: ${event.message}`);
  }
  return last;
}

/** A short training of the bundled example of a style. */
async function planMini(runFolder: string, engine: EngineRequest): Promise<PlannedRun> {
  const dataset = path.join(import.meta.dirname, "../examples/style-blueprint");
  const sizes = { seed: 1, steps: trainingSteps, batch: 2, validateEvery: 0, previewPrompts: [] };
  const choices = { runFolder, name: "blueprint", base: "mini", type: "style", trigger: "blueprint", ...sizes } as const;
  return planRun(dataset, await openBase("mini"), choices, engine);
}
