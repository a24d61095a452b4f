/** The graphs that a run steps and measures with, from its settings alone: the trainer compiles them, a forecast counts them. */
import type { BaseConfigs, TextForm } from "../checkpoints/base.ts";
import type { FloatDType, Graph } from "../graph/graph.ts";
import { adapterBufferNames, type AdapterSpec, adapterShapes } from "../lora/inject.ts";
import type { AdapterTarget } from "../lora/targets.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { findTrainedTargets, trainedTextEncoders } from "../planner/targets.ts";
import { buildLoss, buildMicrostep, buildStep, type DenoiserShape, type LossOptions } from "./denoiser.ts";
import {
  buildApplyStep,
  float16LossScale,
  type GradientOptions,
  type OptimizerSettings,
  type Parameter,
  type ParameterGroup,
} from "./optimize.ts";

export type LatentSize = Omit<DenoiserShape, "batch">;

export interface RunGraphs {
  readonly targets: readonly AdapterTarget[];
  readonly adapters: readonly AdapterSpec[];
  readonly groups: readonly ParameterGroup[];
  /** A whole step, or one of the microsteps that are summed. */
  step(size: LatentSize): Graph;
  /** What follows the last of several microsteps. */
  apply(): Graph;
  /** The loss of every picture of a batch. */
  losses(shape: DenoiserShape): Graph;
}

export function createRunGraphs(options: {
  readonly base: Pick<BaseConfigs, "unet" | "textEncoders">;
  readonly settings: TrainSettings;
  readonly form: TextForm;
  /** Whether pictures come with a mask. */
  readonly masked: boolean;
  /** What base weights and activations are computed in. */
  readonly precision: FloatDType;
}): RunGraphs {
  const { base, settings, form, masked, precision } = options;
  const { batch, accumulation, rank, alpha, gpus } = settings;
  const targets = findTrainedTargets(base, settings);
  const adapters = targets.map(({ path }) => ({ path, rank, alpha }));
  const groups = groupParameters(targets, rank);
  const optimizer = optimizerSettings(settings);
  const lossScale = precision === "float16" ? float16LossScale : 1;
  const gradients: GradientOptions = { lossScale, isShared: gpus > 1 };
  const text = trainedTextEncoders(base, settings).length > 0 ? "tokens" : "embeddings";
  const lossOptions = (shape: DenoiserShape): LossOptions => ({ shape, adapters, masked, text, form });
  return {
    targets,
    adapters,
    groups,
    step: (size) => {
      const own = lossOptions({ batch, ...size });
      return accumulation === 1
        ? buildStep(base, own, groups, optimizer, gradients)
        : buildMicrostep(base, own, groups, accumulation, gradients);
    },
    apply: () => buildApplyStep(groups, optimizer, gradients),
    losses: (shape) => buildLoss(base, lossOptions(shape)),
  };
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
