/** What is trained, on the engine: adapter weights and optimizer state, and the compiled steps for each bucket. */
import type { BaseModel } from "../checkpoints/base.ts";
import { uniform } from "../diffusion/philox.ts";
import type { Engine, Executable, TensorData } from "../engines/engine.ts";
import { sizeOf, type Shape } from "../graph/graph.ts";
import { initialAdapter } from "../lora/init.ts";
import { adapterBufferNames, type AdapterSpec, adapterShapes } from "../lora/inject.ts";
import type { AdapterTarget } from "../lora/targets.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { findAdapterTargets } from "../planner/targets.ts";
import type { StateTensor } from "./checkpoint.ts";
import { buildLoss, buildMicrostep, buildStep, type DenoiserShape, type LossOptions } from "./denoiser.ts";
import { requireFloats } from "./encode.ts";
import { rateFactor } from "./learning-rate.ts";
import { buildApplyStep, type OptimizerSettings, type ParameterGroup, stateNames } from "./optimize.ts";
import type { WeightStore } from "./weights.ts";

/** An adapter's two matrices before a run. */
export interface AdapterWeights {
  readonly down: Float32Array;
  readonly up: Float32Array;
}

interface StepResult {
  readonly loss: number;
  readonly gradNorm: number;
}

/** The network being trained. */
export interface Network {
  readonly adapters: readonly AdapterSpec[];
  readonly targets: readonly AdapterTarget[];
  readonly parameterCount: number;
  /** Puts weights and optimizer state in place; what `state` lacks starts afresh. */
  load(state: ReadonlyMap<string, StateTensor>): Promise<void>;
  /** Parameters and optimizer state now. */
  read(): Promise<readonly StateTensor[]>;
  /** Whether steps on latents of this size are ready to run. */
  isCompiled(size: Omit<DenoiserShape, "batch">): boolean;
  compile(size: Omit<DenoiserShape, "batch">): Promise<void>;
  /** One optimizer step over the microsteps' feeds. `step` is 1 for the first. */
  step(
    step: number,
    shape: Omit<DenoiserShape, "batch">,
    microsteps: readonly Record<string, TensorData>[],
  ): Promise<StepResult>;
  /** Unweighted loss of each picture of a batch. */
  losses(shape: DenoiserShape, feeds: Record<string, TensorData>): Promise<Float32Array>;
  dispose(): Promise<void>;
}

interface Parameter {
  readonly name: string;
  readonly shape: Shape;
}

export function createNetwork(options: {
  readonly base: BaseModel;
  readonly engine: Engine;
  readonly weights: WeightStore;
  readonly settings: TrainSettings;
  readonly masked: boolean;
  /** Weights to begin with, by layer path; a fresh adapter where a layer has none. */
  readonly initial: ReadonlyMap<string, AdapterWeights>;
}): Network {
  const { base, engine, weights, settings, masked } = options;
  const trainsText = settings.textEncoderLearningRate > 0;
  const targets = findAdapterTargets(base, settings.targets, trainsText);
  const adapters = targets.map(({ path }) => ({ path, rank: settings.rank, alpha: settings.alpha }));
  const groups = groupParameters(targets, settings.rank);
  const parameters = groups.flatMap((group) => group.parameters);
  const optimizer = optimizerSettings(settings);
  const executables = new Map<string, Promise<Executable>>();
  let isLoaded = false;

  const compileOnce = (name: string, build: () => Parameters<WeightStore["compile"]>[0]): Promise<Executable> => {
    const known = executables.get(name) ?? weights.compile(build(), name);
    executables.set(name, known);
    return known;
  };
  const lossOptions = (shape: DenoiserShape): LossOptions => ({
    shape,
    adapters,
    masked,
    text: trainsText ? "tokens" : "embeddings",
  });

  const stepNameOf = ({ height, width }: Omit<DenoiserShape, "batch">): string => `step ${width}x${height} x${settings.batch}`;
  /** A whole step, or one of the microsteps that are summed. */
  const compileStep = (size: Omit<DenoiserShape, "batch">): Promise<Executable> =>
    compileOnce(stepNameOf(size), () => {
      const own = lossOptions({ batch: settings.batch, ...size });
      return settings.accumulation === 1
        ? buildStep(base, own, groups, optimizer)
        : buildMicrostep(base, own, groups, settings.accumulation);
    });
  const compileApply = (): Promise<Executable> => compileOnce("apply", () => buildApplyStep(groups, optimizer));

  return {
    adapters,
    targets,
    parameterCount: parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    async load(state) {
      const fresh = freshWeights(targets, settings, options.initial);
      for (const parameter of parameters) {
        for (const name of bufferNames(parameter.name, settings.accumulation > 1)) {
          const data =
            state.get(name)?.data ?? (name === parameter.name ? fresh(name) : new Float32Array(sizeOf(parameter.shape)));
          if (isLoaded) await engine.write(name, data);
          else await engine.allocate({ name, shape: parameter.shape, dtype: "float32" }, { kind: "data", data });
        }
      }
      isLoaded = true;
    },
    async read() {
      const tensors: StateTensor[] = [];
      for (const { name, shape } of parameters) {
        for (const buffer of bufferNames(name, false))
          tensors.push({ name: buffer, shape, data: requireFloats(await engine.read(buffer), buffer) });
      }
      return tensors;
    },
    isCompiled: (size) => executables.has(stepNameOf(size)),
    async compile(size) {
      await compileStep(size);
      if (settings.accumulation > 1) await compileApply();
    },
    async step(step, size, microsteps) {
      const run = await compileStep(size);
      const rates = rateFeeds(groups, settings, step);
      if (settings.accumulation === 1) {
        const result = await run.run({ ...microsteps[0], ...rates });
        return { loss: scalarOf(result, "loss"), gradNorm: scalarOf(result, "gradNorm") };
      }
      let loss = 0;
      for (const feeds of microsteps) loss += scalarOf(await run.run(feeds), "loss") / settings.accumulation;
      return { loss, gradNorm: scalarOf(await (await compileApply()).run(rates), "gradNorm") };
    },
    async losses(shape, feeds) {
      const name = `loss ${shape.width}x${shape.height} x${shape.batch}`;
      const run = await compileOnce(name, () => buildLoss(base, lossOptions(shape)));
      return requireFloats((await run.run(feeds)).lossPerSample, "lossPerSample");
    },
    async dispose() {
      for (const executable of executables.values()) await (await executable).dispose();
      executables.clear();
    },
  };
}

function bufferNames(parameter: string, isAccumulating: boolean): readonly string[] {
  const { m, v, grad } = stateNames(parameter);
  return isAccumulating ? [parameter, m, v, grad] : [parameter, m, v];
}

/** The UNet's adapters and each text encoder's, apart: each group has its learning rate. */
function groupParameters(targets: readonly AdapterTarget[], rank: number): readonly ParameterGroup[] {
  const groups = new Map<string, Parameter[]>();
  for (const { path, weightShape } of targets) {
    const names = adapterBufferNames({ path });
    const shapes = adapterShapes(weightShape, rank);
    const component = path.slice(0, path.indexOf("."));
    const list = groups.get(component) ?? [];
    list.push({ name: names.down, shape: shapes.down }, { name: names.up, shape: shapes.up });
    groups.set(component, list);
  }
  return [...groups].map(([name, parameters]) => ({ name, parameters }));
}

function optimizerSettings({ beta1, beta2, eps, weightDecay, maxGradNorm }: TrainSettings): OptimizerSettings {
  return { beta1, beta2, eps, weightDecay, maxGradNorm: maxGradNorm > 0 ? maxGradNorm : Infinity };
}

/** The rate of each group at a step, and AdamW's corrections for moments that started at zero. */
function rateFeeds(groups: readonly ParameterGroup[], settings: TrainSettings, step: number): Record<string, Float32Array> {
  const factor = rateFactor(step, settings);
  const rates = groups.map(({ name }) => {
    const peak = name === "unet" ? settings.learningRate : settings.textEncoderLearningRate;
    return [`learningRate.${name}`, Float32Array.of(peak * factor)] as const;
  });
  return {
    ...Object.fromEntries(rates),
    correction1: Float32Array.of(1 - settings.beta1 ** step),
    correction2: Float32Array.of(1 - settings.beta2 ** step),
  };
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
    const draw = (count: number): Float32Array => uniform({ seed, purpose: "init", sample: index }, count);
    byName.set(names.down, () => initial.get(target.path)?.down ?? initialAdapter(target, rank, draw).down);
    byName.set(names.up, () => initial.get(target.path)?.up ?? initialAdapter(target, rank, draw).up);
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
