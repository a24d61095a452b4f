/** A resumable training run over all weights of a network: what mini's VAE and its denoiser are trained with. */
import { existsSync } from "node:fs";
import { appendFile, mkdir } from "node:fs/promises";
import path from "node:path";
import type { Engine, Executable, TensorData } from "../../src/engines/engine.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../../src/formats/safetensors.ts";
import { optimise } from "../../src/graph/passes.ts";
import { sizeOf, type Graph } from "../../src/graph/graph.ts";
import { stateNames, type Parameter } from "../../src/trainer/optimize.ts";
import { optimizerSettings } from "./configs.ts";
import { initialWeight } from "./initial-weights.ts";

export interface RunOptions {
  readonly name: string;
  /** Where the state and the log go. */
  readonly folder: string;
  readonly engine: Engine;
  readonly parameters: readonly Parameter[];
  readonly step: Executable;
  readonly steps: number;
  readonly peakLearningRate: number;
  readonly seed: number;
  readonly saveEveryMs: number;
  feedsAt(step: number): Promise<Record<string, TensorData>> | Record<string, TensorData>;
  /** Called after each save, with the step. */
  onSave?(step: number): Promise<void>;
}

/** Linear warm-up over 200 steps, then a cosine to zero (Loshchilov and Hutter 2017). */
function learningRateAt(step: number, steps: number, peak: number): number {
  const warmUp = Math.min(1, (step + 1) / 200);
  return peak * warmUp * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
}

/** Weights that were trained before; undefined where there are none. */
export type WeightReader = (name: string) => Promise<Float32Array | undefined>;

/**
 * Makes the parameters and AdamW's state on the engine, from the saved state when there is one. Returns the step to go on with.
 *
 * @param options.readTrained what a run without a saved state starts from; random weights if absent
 */
export async function allocateState(
  options: Pick<RunOptions, "engine" | "parameters" | "folder" | "name" | "seed"> & { readonly readTrained?: WeightReader },
): Promise<number> {
  const saved = await openState(options);
  for (const [index, parameter] of options.parameters.entries()) {
    const { name, shape } = parameter;
    const { m, v } = stateNames(name);
    for (const buffer of [name, m, v]) {
      const stored = saved?.tensors.has(buffer) ? await readTensor(saved, buffer) : undefined;
      const trained = buffer === name ? await options.readTrained?.(name) : new Float32Array(sizeOf(shape));
      const data = stored ?? trained ?? initialWeight(parameter, options.seed, index);
      await options.engine.allocate({ name: buffer, shape, dtype: "float32" }, { kind: "data", data });
    }
  }
  return Number(saved?.metadata["step"] ?? 0);
}

export function statePath({ folder, name }: Pick<RunOptions, "folder" | "name">): string {
  return path.join(folder, `${name}.state.safetensors`);
}

async function openState(options: Pick<RunOptions, "folder" | "name">) {
  await mkdir(options.folder, { recursive: true });
  const file = statePath(options);
  return existsSync(file) ? openSafetensors(file) : undefined;
}

async function saveState(options: RunOptions, step: number): Promise<void> {
  const tensors = [];
  for (const { name, shape } of options.parameters) {
    const { m, v } = stateNames(name);
    for (const buffer of [name, m, v]) {
      const data = await options.engine.read(buffer);
      tensors.push({ name: buffer, dtype: "F32" as const, shape, data });
    }
  }
  await writeSafetensors(statePath(options), tensors, { step: String(step) });
  await options.onSave?.(step);
}

/** Runs the steps that are left, writing a line of the log every 20 and the state every so often. Stops at SIGINT or SIGTERM, saved. */
export async function runSteps(options: RunOptions, firstStep: number): Promise<void> {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
  let sum = 0;
  let savedAt = Date.now();
  let loggedAt = Date.now();
  for (let step = firstStep; step < options.steps && !controller.signal.aborted; step++) {
    const { loss, gradNorm } = await runStep(options, step);
    sum += loss;
    if ((step + 1) % 20 === 0) {
      const msPerStep = Math.round((Date.now() - loggedAt) / 20);
      await logLine(options, { step: step + 1, loss: sum / 20, gradNorm, msPerStep });
      sum = 0;
      loggedAt = Date.now();
    }
    if (Date.now() - savedAt > options.saveEveryMs || step + 1 === options.steps || controller.signal.aborted) {
      await saveState(options, step + 1);
      savedAt = Date.now();
    }
  }
}

async function runStep(options: RunOptions, step: number): Promise<{ loss: number; gradNorm: number }> {
  const { beta1, beta2 } = optimizerSettings;
  const rate = learningRateAt(step, options.steps, options.peakLearningRate);
  const fetches = await options.step.run({
    ...(await options.feedsAt(step)),
    "learningRate.all": Float32Array.of(rate),
    correction1: Float32Array.of(1 - beta1 ** (step + 1)),
    correction2: Float32Array.of(1 - beta2 ** (step + 1)),
  });
  const loss = fetches["loss"]?.[0] ?? NaN;
  const gradNorm = fetches["gradNorm"]?.[0] ?? NaN;
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    throw new Error(`mini: loss ${loss}, gradient norm ${gradNorm} at step ${step}; the last saved state is kept`);
  }
  return { loss, gradNorm };
}

async function logLine({ folder, name }: RunOptions, line: Record<string, number>): Promise<void> {
  console.log(name, JSON.stringify(line));
  await appendFile(path.join(folder, `${name}.log.jsonl`), `${JSON.stringify(line)}\n`);
}

/** The passes and the engine's compilation. */
export async function compileStep(engine: Engine, graph: Graph, name: string): Promise<Executable> {
  return engine.compile(optimise(graph, { keep: engine.composites }), { name });
}
