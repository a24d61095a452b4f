/** The UNet's configuration from the keys and shapes of a single file, which carries none. */
import { UserError } from "../errors.ts";
import { parseUnetConfig, type UnetConfig } from "../models/unet/config.ts";
import type { BaseFamily } from "./base.ts";
import { UNET_PREFIX } from "./keys-unet.ts";
import type { FileTensors } from "./locate-weights.ts";
import { createShapeReader, type ShapeReader } from "./shape-reader.ts";

/** Of every group norm in the original code. */
const GROUPS = 32;

/** What shapes cannot say: attention cuts its channels into heads without leaving a trace. */
const headsOf: { readonly [F in BaseFamily]: (channels: number) => number } = {
  sd15: () => 8,
  sdxl: (channels) => Math.max(1, channels / 64),
};

/** One resolution on the way down. */
interface Stage {
  readonly channels: number;
  readonly layers: number;
  /** Transformer blocks after each residual block; 0 for none. */
  readonly depth: number;
}

/**
 * Derived: widths, numbers of blocks, where attention is and how deep, the text's width, the sizes of the time and the added embedding.
 * Assumed: norms of 32 groups; 8 heads in SD 1.5, heads of 64 channels in SDXL; what all models of the family share (epsilons, the order of
 * sinusoids).
 *
 * @param pooledWidth of SDXL's pooled text; undefined for SD 1.5
 * @param where the file, for messages
 * @throws UserError naming the key that is missing, or whose shape no model of the family can have
 */
export function deriveUnetConfig(
  tensors: FileTensors,
  family: BaseFamily,
  pooledWidth: number | undefined,
  where: string,
): UnetConfig {
  const read = createShapeReader(tensors, UNET_PREFIX, where);
  const stages = readStages(read);
  const channels = stages.map((stage) => stage.channels);
  const heads = stages.map((stage) => headsOf[family](stage.channels));
  stages.forEach((stage, i) => refuseWidth(stage, heads[i] ?? 1, where));
  const middle = read.count((i) => `middle_block.1.transformer_blocks.${i}.norm1.weight`);
  const typed = (prefix: string) => stages.map(({ depth }) => (depth > 0 ? `CrossAttn${prefix}Block2D` : `${prefix}Block2D`));
  return parseUnetConfig(
    {
      in_channels: read.size("input_blocks.0.0.weight", 1),
      out_channels: read.size("out.2.weight", 0),
      conv_in_kernel: read.size("input_blocks.0.0.weight", 2),
      conv_out_kernel: read.size("out.2.weight", 2),
      block_out_channels: channels,
      layers_per_block: stages.map(({ layers }) => layers),
      down_block_types: typed("Down"),
      up_block_types: typed("Up").reverse(),
      // The middle block has the depth of the last stage, or where that has no attention its own.
      transformer_layers_per_block: stages.map(({ depth }, i) => depth || (i === stages.length - 1 ? Math.max(1, middle) : 1)),
      attention_head_dim: heads,
      cross_attention_dim: read.size("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1),
      use_linear_projection: family === "sdxl",
      time_embedding_dim: read.size("time_embed.0.weight", 0),
      norm_num_groups: GROUPS,
      sample_size: family === "sdxl" ? 128 : 64,
      ...(pooledWidth === undefined ? {} : readAdded(read, pooledWidth)),
    },
    where,
  );
}

function readStages(read: ShapeReader): readonly Stage[] {
  const stages: Stage[] = [];
  let stage: Stage = { channels: 0, layers: 0, depth: 0 };
  for (let n = 1; ; n++) {
    const isSampler = read.has(`input_blocks.${n}.0.op.weight`);
    if (isSampler) {
      stages.push(stage);
      stage = { channels: 0, layers: 0, depth: 0 };
      continue;
    }
    if (!read.hasUnder(`input_blocks.${n}.`)) break;
    stage = {
      channels: read.size(`input_blocks.${n}.0.out_layers.3.weight`, 0),
      layers: stage.layers + 1,
      depth: read.count((i) => `input_blocks.${n}.1.transformer_blocks.${i}.norm1.weight`),
    };
  }
  return [...stages, stage];
}

function refuseWidth({ channels, layers }: Stage, heads: number, where: string): void {
  const needed =
    layers === 0 || channels % GROUPS !== 0
      ? `a multiple of ${GROUPS}`
      : !Number.isInteger(heads) || channels % heads !== 0
        ? "a multiple of 64"
        : undefined;
  if (needed === undefined) return;
  throw new UserError(`${where}: a stage of its UNet has ${channels} channels; ${needed} is needed.`, {
    fix: "Use a model of SD 1.5's or SDXL's architecture, or a diffusers folder, whose config.json says what this one is.",
  });
}

/** SDXL's added embedding: its first layer takes the pooled text and six numbers as sinusoids. */
function readAdded(read: ShapeReader, pooledWidth: number): object {
  const inputDim = read.size("label_emb.0.0.weight", 1);
  return {
    addition_embed_type: "text_time",
    projection_class_embeddings_input_dim: inputDim,
    addition_time_embed_dim: (inputDim - pooledWidth) / 6,
  };
}
