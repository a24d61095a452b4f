/** Writes adapter files: safetensors with Kohya's names, the form that the most programs load. */
import { createDraft, type AdapterDType, type AdapterMatrix } from "./draft.ts";
import { modelSpecFields, trainingFields, type AdapterMetadata } from "./metadata.ts";
import { kohyaName, type NamingBase } from "./names.ts";

export type { AdapterDType, AdapterMatrix } from "./draft.ts";

/** One layer's adapter: the layer's change is (alpha / rank) up down. */
export interface AdapterModule {
  /** Of the base's weight without ".weight": "unet.down_blocks.1.attentions.0.proj_in". */
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
  /** [rank, in] or [rank, in, kh, kw] */
  readonly down: AdapterMatrix;
  /** [out, rank] or [out, rank, 1, 1] */
  readonly up: AdapterMatrix;
}

export interface AdapterToWrite {
  readonly modules: readonly AdapterModule[];
  readonly base: NamingBase;
  readonly metadata: AdapterMetadata;
  readonly dtype: AdapterDType;
}

/**
 * Writes an adapter, completely or not at all: two matrices and an alpha for each module, and the metadata.
 *
 * @throws UserError when a number is not finite or does not fit the type, when nothing in it changes the base, or the disk refuses
 * @throws Error for modules that do not hang together
 * @example await writeAdapter("mystyle.safetensors", { modules, base, metadata, dtype: "float16" });
 */
export async function writeAdapter(path: string, { modules, base, metadata, dtype }: AdapterToWrite): Promise<void> {
  if (modules.length === 0) throw new Error("writeAdapter: at least one module needed, got none");
  const fixes = {
    number: "Go back to an earlier checkpoint, and train with a lower learning rate.",
    nothing: "Train for more steps, or with a higher learning rate.",
  };
  const draft = createDraft({ path, dtype, fixes });
  for (const module of modules) draft.add({ ...module, name: kohyaName(module.path, base), layer: module.path });
  await draft.write({
    training: trainingFields(metadata, base.family, draft.size()),
    others: (hash) => modelSpecFields(metadata, base.family, hash),
  });
}
