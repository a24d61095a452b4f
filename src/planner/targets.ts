/** Which layers of a base model an adapter goes on, found from its configurations alone. */
import { Graph, type Shape } from "../graph/graph.ts";
import { type AdapterTarget, findTargets, type TargetSet } from "../lora/targets.ts";
import type { ClipTextConfig } from "../models/clip/config.ts";
import { clipText } from "../models/clip/model.ts";
import type { UnetConfig } from "../models/unet/config.ts";
import { unet } from "../models/unet/model.ts";
import { createParams } from "../nn/params.ts";
import type { TrainSettings } from "./plan.ts";

export type TextEncoderName = "text_encoder" | "text_encoder_2";

/** The networks that an adapter can go on. */
export interface NetworkConfigs {
  readonly unet: UnetConfig;
  readonly textEncoders: readonly { readonly name: TextEncoderName; readonly config: ClipTextConfig }[];
}

/**
 * The layers of the UNet and, if asked, of the text encoders that belong to a target set. Sizes of pictures play no part: the
 * smallest graphs are enough.
 */
export function findAdapterTargets(base: NetworkConfigs, set: TargetSet, withTextEncoders: boolean): readonly AdapterTarget[] {
  const graph = new Graph();
  appendUnet(graph, base.unet);
  if (withTextEncoders) {
    for (const { name, config } of base.textEncoders) {
      clipText(createParams(graph, name), { inputIds: graph.feed(`inputIds.${name}`, [1, 1], "int32") }, config);
    }
  }
  return findTargets(graph, set);
}

/** The text encoders that a plan trains: those with a rate. */
export function trainedTextEncoders(
  base: NetworkConfigs,
  rates: Pick<TrainSettings, "textEncoderLearningRate" | "textEncoder2LearningRate">,
): readonly TextEncoderName[] {
  const byName: Readonly<Record<TextEncoderName, number>> = {
    text_encoder: rates.textEncoderLearningRate,
    text_encoder_2: rates.textEncoder2LearningRate,
  };
  return base.textEncoders.flatMap(({ name }) => (byName[name] > 0 ? [name] : []));
}

/** The layers that a plan trains. A text encoder without a rate gets no adapter. */
export function findTrainedTargets(
  base: NetworkConfigs,
  settings: Pick<TrainSettings, "targets" | "textEncoderLearningRate" | "textEncoder2LearningRate">,
): readonly AdapterTarget[] {
  const components = new Set<string>(["unet", ...trainedTextEncoders(base, settings)]);
  return findAdapterTargets(base, settings.targets, components.size > 1).filter(({ path }) =>
    components.has(path.slice(0, path.indexOf("."))),
  );
}

/** The largest rank that a layer can use. */
export function widthOf([outputs = 1, ...inputs]: Shape): number {
  return Math.min(
    outputs,
    inputs.reduce((product, size) => product * size, 1),
  );
}

function appendUnet(graph: Graph, config: UnetConfig): void {
  const side = 2 ** (config.downBlocks.length - 1);
  const inputs = {
    sample: graph.feed("sample", [1, config.inChannels, side, side]),
    timesteps: graph.feed("timesteps", [1]),
    encoderHiddenStates: graph.feed("context", [1, 1, config.crossAttentionDim]),
  };
  const { additionEmbed } = config;
  const addedConditions = additionEmbed && {
    textEmbeds: graph.feed("pooled", [1, additionEmbed.inputDim - 6 * additionEmbed.timeEmbedDim]),
    timeIds: graph.feed("timeIds", [1, 6]),
  };
  unet(createParams(graph, "unet"), addedConditions ? { ...inputs, addedConditions } : inputs, config);
}
