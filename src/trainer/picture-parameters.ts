/** What a picture was drawn with, as A1111 and Forge write it into their PNG files and read it back from them. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import type { BaseModel } from "../checkpoints/base.ts";
import { type SamplerName, parseSamplerName } from "../diffusion/samplers/samplers.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { version } from "./adapter-file.ts";
import type { PictureRequest } from "./sample-images.ts";

export interface PictureDescriber {
  /** The text of the PNG chunk "parameters". */
  describe(request: PictureRequest): Promise<string>;
}

/**
 * Reads each adapter file once, for its hash.
 *
 * @example await writePng(path, pixels, { parameters: await createPictureDescriber(base).describe(request) });
 */
export function createPictureDescriber(base: Pick<BaseModel, "name">): PictureDescriber {
  const hashes = new Map<string, Promise<string>>();
  return {
    async describe(request) {
      const named: string[] = [];
      for (const path of new Set(request.loras.map((lora) => lora.path))) {
        const hash = hashes.get(path) ?? hashAsA1111(path);
        hashes.set(path, hash);
        named.push(`${loraName(path)}: ${await hash}`);
      }
      return formatParameters(request, base.name, named);
    },
  };
}

/** A1111's names of samplers, and of the spacing of their steps where it is not the model's own. */
const samplerFields: { readonly [K in SamplerName]: readonly (readonly [name: string, value: string])[] } = {
  euler: [["Sampler", "Euler"]],
  euler_a: [["Sampler", "Euler a"]],
  dpmpp_2m: [
    ["Sampler", "DPM++ 2M"],
    ["Schedule type", "Karras"],
  ],
};

function formatParameters(request: PictureRequest, baseName: string, loraHashes: readonly string[]): string {
  const { prompt, negativePrompt, steps, guidance, seed, widthPx, heightPx, loras } = request;
  const fields: (readonly [name: string, value: string])[] = [
    ["Steps", String(steps)],
    ...samplerFields[parseSamplerName(request.sampler)],
    ["CFG scale", String(guidance)],
    ["Seed", String(seed)],
    ["Size", `${widthPx}x${heightPx}`],
    ["Model", baseName],
    ...(loraHashes.length === 0 ? [] : [["Lora hashes", loraHashes.join(", ")] as const]),
    ["Version", `gesso ${version}`],
  ];
  const tags = loras.map(({ path, weight }) => ` <lora:${loraName(path)}:${weight}>`).join("");
  return [
    // A1111 takes the lines up to "Negative prompt:" for the prompt, and its adapters from there.
    `${prompt}${tags}`,
    ...(negativePrompt === "" ? [] : [`Negative prompt: ${negativePrompt}`]),
    fields.map(([name, value]) => `${name}: ${quote(value)}`).join(", "),
  ].join("\n");
}

/** How A1111 calls an adapter: its file's name without the ending, and without what its tags and lists are made of. */
function loraName(path: string): string {
  return basename(path)
    .replace(/\.safetensors$/i, "")
    .replace(/[:,<>]/g, "");
}

/** Values with marks of the list in them are JSON strings. */
function quote(value: string): string {
  return /[,:\n]/.test(value) ? JSON.stringify(value) : value;
}

/** The first 12 digits of `sshs_model_hash`, or of the SHA-256 over all that follows the header. */
async function hashAsA1111(path: string): Promise<string> {
  const { metadata, tensors } = await openSafetensors(path);
  const told = metadata.sshs_model_hash;
  if (told !== undefined && /^[0-9a-f]{64}$/.test(told)) return told.slice(0, 12);
  const hash = createHash("sha256");
  const start = Math.min(...[...tensors.values()].map(({ offset }) => offset));
  for await (const piece of createReadStream(path, { start })) hash.update(piece as Uint8Array);
  return hash.digest("hex").slice(0, 12);
}
