/** The training step of mini's denoiser and both text encoders, all weights at once. */
import { concat } from "../../src/graph/build.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { ClipTextConfig } from "../../src/models/clip/config.ts";
import { clipText, listClipTextParameters } from "../../src/models/clip/model.ts";
import { parseUnetConfig } from "../../src/models/unet/config.ts";
import { listUnetParameters, unet } from "../../src/models/unet/model.ts";
import { createParams } from "../../src/nn/params.ts";
import { denoisingLoss } from "../../src/trainer/objective.ts";
import { appendStep, type Parameter } from "../../src/trainer/optimize.ts";
import { latentChannels, maxTokens, optimizerSettings, resolutionPx, unetConfig } from "./configs.ts";

export interface TextConfigs {
  readonly first: ClipTextConfig;
  readonly second: ClipTextConfig;
}

export function denoiserParameters(text: TextConfigs): readonly Parameter[] {
  return [
    ...listUnetParameters(parseUnetConfig(unetConfig)),
    ...listClipTextParameters(text.first, "text_encoder"),
    ...listClipTextParameters(text.second, "text_encoder_2"),
  ];
}

/**
 * Feeds: `noisyLatents` and `target` [B, C, 16, 16], `timesteps` and `lossWeights` [B], `timeIds` [B, 6], `inputIds.first` and `inputIds.second` int32
 * [B, tokens], `eosRows` int32 [B].
 */
export function buildDenoiserStep(batch: number, text: TextConfigs): Graph {
  const graph = new Graph();
  const side = resolutionPx / 8;
  const eosRows = graph.feed("eosRows", [batch], "int32");
  const first = clipText(
    createParams(graph, "text_encoder"),
    { inputIds: graph.feed("inputIds.first", [batch, maxTokens], "int32") },
    text.first,
  );
  const second = clipText(
    createParams(graph, "text_encoder_2"),
    { inputIds: graph.feed("inputIds.second", [batch, maxTokens], "int32"), eosRows },
    text.second,
  );
  const [firstHidden, secondHidden] = [first.hiddenStates.at(-2), second.hiddenStates.at(-2)];
  if (!firstHidden || !secondHidden || !second.textEmbeds)
    throw new Error("mini: the text encoders must have layers and a projection");
  const prediction = unet(
    createParams(graph, "unet"),
    {
      sample: graph.feed("noisyLatents", [batch, latentChannels, side, side]),
      timesteps: graph.feed("timesteps", [batch]),
      encoderHiddenStates: concat([firstHidden, secondHidden], 2),
      addedConditions: { textEmbeds: second.textEmbeds, timeIds: graph.feed("timeIds", [batch, 6]) },
    },
    parseUnetConfig(unetConfig),
  );
  const { loss, perSample } = denoisingLoss(prediction, { masked: false });
  graph.fetches.set("loss", loss).set("lossPerSample", perSample);
  appendStep(loss, [{ name: "all", parameters: denoiserParameters(text) }], optimizerSettings);
  return graph;
}
