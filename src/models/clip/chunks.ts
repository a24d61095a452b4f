/** Texts longer than a text encoder reads: they are cut into chunks, which go through it one by one. */
import type { ClipTextConfig } from "./config.ts";

/** More chunks than this no program trains with: 225 of CLIP's tokens. */
export const MAX_CHUNKS = 3;

/** Tokens in a chunk, start and end included: what every text encoder of a base has positions for. */
export function chunkLength({
  textEncoders,
}: {
  readonly textEncoders: readonly { readonly config: Pick<ClipTextConfig, "maxPositionEmbeddings"> }[];
}): number {
  return Math.min(...textEncoders.map(({ config }) => config.maxPositionEmbeddings));
}
