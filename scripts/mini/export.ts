/** Writes the trained weights as models/mini: a diffusers folder in float16. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { openSafetensors, readTensor, writeSafetensors } from "../../src/formats/safetensors.ts";
import type { Parameter } from "../../src/trainer/optimize.ts";
import { modelIndex, schedulerConfig, textConfigs, unetConfig, vaeConfig } from "./configs.ts";
import { writeCurves } from "./curves.ts";
import { denoiserParameters } from "./denoiser-step.ts";
import { encodePictures, type Latents } from "./latents.ts";
import { readPictures } from "./pictures.ts";
import { statePath } from "./run.ts";
import { parseTextConfigs, readTokenizers } from "./train-denoiser.ts";
import type { Folders } from "./train-vae.ts";
import { decoderParameters, vaeParameters } from "./vae-step.ts";

/** File of each component's weights, as diffusers and transformers name it. */
export const weightFiles = {
  unet: "diffusion_pytorch_model.safetensors",
  vae: "diffusion_pytorch_model.safetensors",
  text_encoder: "model.safetensors",
  text_encoder_2: "model.safetensors",
} as const;

export async function exportMini(folders: Folders, target: string): Promise<void> {
  const tokenizers = readTokenizers();
  const { vocabSize, bosId, eosId } = tokenizers.first;
  const text = textConfigs(vocabSize, bosId, eosId);
  const configs = { unet: unetConfig, vae: vaeConfig, text_encoder: text.first, text_encoder_2: text.second };
  for (const [component, config] of Object.entries(configs))
    await writeJson(path.join(target, component, "config.json"), config);
  await writeJson(path.join(target, "scheduler", "scheduler_config.json"), schedulerConfig);
  await writeJson(path.join(target, "model_index.json"), modelIndex);

  const latents = await encodePictures(readPictures(folders.data), folders.state);
  const vae = foldLatents(await readVaeWeights(folders), latents);
  const denoiser = await readWeights(folders, "denoiser", denoiserParameters(parseTextConfigs(tokenizers.first)));
  for (const [component, file] of Object.entries(weightFiles)) {
    const tensors = [...vae, ...denoiser].flatMap(([{ name, shape }, data]) =>
      name.startsWith(`${component}.`) ? [{ name: name.slice(component.length + 1), dtype: "F16" as const, shape, data }] : [],
    );
    await writeSafetensors(path.join(target, component, file), tensors, { format: "pt" });
  }
  await writeCurves(folders.state, path.join(target, "curves.svg"));
}

type Weights = ReadonlyMap<Parameter, Float32Array>;

async function readWeights({ state }: Folders, name: string, parameters: readonly Parameter[]): Promise<Weights> {
  const file = await openSafetensors(statePath({ folder: state, name }));
  return new Map(
    await Promise.all(parameters.map(async (parameter) => [parameter, await readTensor(file, parameter.name)] as const)),
  );
}

/** The autoencoder, with the decoder that was trained further where there is one. */
async function readVaeWeights(folders: Folders): Promise<Weights> {
  const weights = await readWeights(folders, "vae", vaeParameters);
  if (!existsSync(statePath({ folder: folders.state, name: "decoder" }))) return weights;
  const decoder = await readWeights(folders, "decoder", decoderParameters);
  return new Map([...weights, ...decoder]);
}

/**
 * Makes the autoencoder itself give latents of mean 0 and deviation 1: the encoder's last layer takes them away, the decoder's first puts
 * them back, both being 1 x 1 convolutions.
 */
function foldLatents(weights: Weights, { mean, deviation }: Latents): Weights {
  const channels = mean.length;
  const folded = new Map([...weights].map(([parameter, data]) => [parameter.name, { parameter, data: data.slice() }]));
  const dataOf = (name: string): Float32Array => folded.get(`vae.${name}`)?.data ?? new Float32Array();
  const [encodeWeight, encodeBias] = [dataOf("quant_conv.weight"), dataOf("quant_conv.bias")]; // [2C, 2C, 1, 1], [2C]
  const [decodeWeight, decodeBias] = [dataOf("post_quant_conv.weight"), dataOf("post_quant_conv.bias")]; // [C, C, 1, 1], [C]
  for (let c = 0; c < channels; c++) {
    const [shift, scale] = [mean[c] ?? 0, deviation[c] ?? 1];
    for (let i = 0; i < 2 * channels; i++)
      encodeWeight[c * 2 * channels + i] = (encodeWeight[c * 2 * channels + i] ?? 0) / scale;
    encodeBias[c] = ((encodeBias[c] ?? 0) - shift) / scale;
    encodeBias[channels + c] = (encodeBias[channels + c] ?? 0) - 2 * Math.log(scale);
    for (let o = 0; o < channels; o++) {
      const weight = decodeWeight[o * channels + c] ?? 0;
      decodeBias[o] = (decodeBias[o] ?? 0) + weight * shift;
      decodeWeight[o * channels + c] = weight * scale;
    }
  }
  return new Map([...folded.values()].map(({ parameter, data }) => [parameter, data]));
}

async function writeJson(file: string, value: object): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(value, null, 2)}\n`);
}
