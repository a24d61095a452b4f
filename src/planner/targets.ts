/** Which layers of a base model an adapter goes on, found from its configurations alone. */
import { Graph, type Shape } from "../graph/graph.ts";
import { type AdapterTarget, findTargets, type TargetSet } from "../lora/targets.ts";
import type { ClipTextConfig } from "../models/clip/config.ts";
import { clipText } from "../models/clip/model.ts";
import type { UnetConfig } from "../models/unet/config.ts";
import { unet } from "../models/unet/model.ts";
import { createParams } from "../nn/params.ts";

/** The networks that an adapter can go on. */
export interface NetworkConfigs {
  readonly unet: UnetConfig;
  readonly textEncoders: readonly { readonly name: "text_encoder" | "text_encoder_2"; readonly config: ClipTextConfig }[];
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
