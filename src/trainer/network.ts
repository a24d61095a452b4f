/** What is trained, on the engine: adapter weights and optimizer state, and the compiled steps for each bucket. */
import type { BaseModel, TextForm } from "../checkpoints/base.ts";
import { uniform } from "../diffusion/philox.ts";
import type { Engine, Executable, TensorData } from "../engines/engine.ts";
import { sizeOf } from "../graph/graph.ts";
import { initialAdapter } from "../lora/init.ts";
import { adapterBufferNames, type AdapterSpec } from "../lora/inject.ts";
import type { AdapterTarget } from "../lora/targets.ts";
import type { TrainSettings } from "../planner/plan.ts";
import type { DenoiserShape } from "./denoiser.ts";
import { requireFloats } from "./encode.ts";
import { createEngineState, type EngineState } from "./engine-state.ts";
import { createExecutables } from "./executables.ts";
import { rateFactor } from "./learning-rate.ts";
import type { ParameterGroup } from "./optimize.ts";
import { createRunGraphs, type LatentSize, type RunGraphs } from "./run-graphs.ts";
import type { WeightStore } from "./weights.ts";

/** An adapter's two matrices before a run. */
export interface AdapterWeights {
  readonly down: Float32Array;
  readonly up: Float32Array;
}

type Feeds = Record<string, TensorData>;

interface StepResult {
  readonly loss: number;
  readonly gradNorm: number;
}

/** The network being trained. */
export interface Network extends EngineState {
  readonly adapters: readonly AdapterSpec[];
  readonly targets: readonly AdapterTarget[];
  readonly parameterCount: number;
  /** Whether steps on latents of this size are ready to run. */
  isCompiled(size: LatentSize): boolean;
  compile(size: LatentSize): Promise<void>;
  /** One optimizer step over the microsteps' feeds, those that workers take at the same time one behind the other. `step` is 1 for the first. */
  step(step: number, shape: LatentSize, microsteps: readonly Feeds[]): Promise<StepResult>;
  /** Unweighted loss of each picture of a batch. */
  losses(shape: DenoiserShape, feeds: Feeds): Promise<Float32Array>;
  dispose(): Promise<void>;
}

interface NetworkOptions {
  readonly base: BaseModel;
  readonly engine: Engine;
  readonly weights: WeightStore;
  readonly settings: TrainSettings;
  readonly form: TextForm;
  readonly masked: boolean;
  /** Whether all pictures have one size, so that one graph is run again and again. */
  readonly oneSize: boolean;
  /** Weights to begin with, by layer path; a fresh adapter where a layer has none. */
  readonly initial: ReadonlyMap<string, AdapterWeights>;
}

export function createNetwork(options: NetworkOptions): Network {
  const { base, engine, settings, form, masked, initial } = options;
  const graphs = createRunGraphs({ base, settings, form, masked, precision: engine.precision });
  const { targets, adapters, groups } = graphs;
  const parameters = groups.flatMap((group) => group.parameters);
  const isAccumulating = settings.accumulation > 1;
  const workers = engine.workers ?? 1;
  if (workers !== settings.gpus)
    throw new Error(`network: the plan is for ${settings.gpus} workers, the engine has ${workers}`);
  const steps = createSteps(options, graphs);
  const fresh = freshWeights(targets, settings, initial);
  return {
    adapters,
    targets,
    parameterCount: parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    ...createEngineState({ engine, parameters, isAccumulating, fresh }),
    isCompiled: steps.isCompiled,
    async compile(size) {
      await steps.step(size);
      if (isAccumulating) await steps.apply();
    },
    async step(step, size, microsteps) {
      const run = await steps.step(size);
      const rates = (): Feeds => rateFeeds(groups, settings, step);
      if (!isAccumulating) {
        const [first = {}, ...others] = microsteps.map((feeds) => ({ ...feeds, ...rates() }));
        const result = await run.run(first, others);
        return { loss: scalarOf(result, "loss"), gradNorm: scalarOf(result, "gradNorm") };
      }
      let loss = 0;
      for (let at = 0; at < microsteps.length; at += workers) {
        const [first = {}, ...others] = microsteps.slice(at, at + workers);
        loss += scalarOf(await run.run(first, others), "loss") / settings.accumulation;
      }
      const others = Array.from({ length: workers - 1 }, rates);
      return { loss, gradNorm: scalarOf(await (await steps.apply()).run(rates(), others), "gradNorm") };
    },
    async losses(shape, feeds) {
      const run = await steps.losses(shape);
      return requireFloats((await run.run(feeds)).lossPerSample, "lossPerSample");
    },
    dispose: steps.dispose,
  };
}

/** The compiled graphs of a run, each for its size of latents. */
function createSteps({ weights, settings, oneSize }: NetworkOptions, graphs: RunGraphs) {
  const { batch, recompute } = settings;
  const executables = createExecutables(weights);
  const isShared = settings.gpus > 1;
  const nameOf = ({ height, width }: LatentSize): string => `step ${width}x${height} x${batch}`;
  const sizeOf = (what: string): string | undefined => (oneSize ? undefined : what);
  return {
    isCompiled: (size: LatentSize): boolean => executables.has(nameOf(size)),
    step: (size: LatentSize): Promise<Executable> =>
      executables.get(nameOf(size), () => graphs.step(size), {
        keepsMemory: true,
        sizeOf: sizeOf("step"),
        recompute,
        isShared,
      }),
    apply: (): Promise<Executable> => executables.get("apply", () => graphs.apply(), { isShared }),
    losses: (shape: DenoiserShape): Promise<Executable> =>
      executables.get(`loss ${shape.width}x${shape.height} x${shape.batch}`, () => graphs.losses(shape), {
        sizeOf: sizeOf("losses"),
      }),
    dispose: (): Promise<void> => executables.dispose(),
  };
}

/** The rate of each group at a step, and AdamW's corrections for moments that started at zero. */
function rateFeeds(groups: readonly ParameterGroup[], settings: TrainSettings, step: number): Record<string, Float32Array> {
  const factor = rateFactor(step, settings);
  const peaks = new Map([
    ["unet", settings.learningRate],
    ["text_encoder", settings.textEncoderLearningRate],
    ["text_encoder_2", settings.textEncoder2LearningRate],
  ]);
  const rates = groups.map(({ name }) => {
    const peak = peaks.get(name);
    if (peak === undefined) throw new Error(`network: there is no learning rate for ${name}`);
    return [`learningRate.${name}`, Float32Array.of(peak * factor)] as const;
  });
  return {
    ...Object.fromEntries(rates),
    correction1: Float32Array.of(1 - settings.beta1 ** step),
    correction2: Float32Array.of(1 - settings.beta2 ** step),
  };
}

/** What layer number `index` of a run begins with where no file says otherwise. */
export function freshAdapter(
  target: AdapterTarget,
  index: number,
  { rank, seed }: Pick<TrainSettings, "rank" | "seed">,
): AdapterWeights {
  return initialAdapter(target, rank, (count) => uniform({ seed, purpose: "init", sample: index }, count));
}

/** What a parameter begins with, by its buffer's name. */
function freshWeights(
  targets: readonly AdapterTarget[],
  { rank, seed }: TrainSettings,
  initial: ReadonlyMap<string, AdapterWeights>,
): (name: string) => Float32Array {
  const byName = new Map<string, () => Float32Array>();
  targets.forEach((target, index) => {
    const names = adapterBufferNames(target);
    const fresh = (): AdapterWeights => initial.get(target.path) ?? freshAdapter(target, index, { rank, seed });
    byName.set(names.down, () => fresh().down);
    byName.set(names.up, () => fresh().up);
  });
  return (name) => {
    const make = byName.get(name);
    if (!make) throw new Error(`network: ${name} is no parameter of the adapter`);
    return make();
  };
}

function scalarOf(result: Record<string, TensorData>, name: string): number {
  const value = result[name]?.[0];
  if (value === undefined) throw new Error(`network: the step must fetch ${name}`);
  return value;
}
