/** Where in a model a layer lies, in words: by its path, or by its name where the path is not known. */
import type { OpenedModule } from "./open.ts";

interface Place {
  readonly name: string;
  /** Smaller comes first. */
  readonly order: number;
}

type Named = Pick<OpenedModule, "name" | "path">;

/** In paths and flattened names alike; the first that matches. */
const parts: readonly (readonly [mark: RegExp, name: string])[] = [
  [/^(lora_te2|text_encoder_2|text_encoders\.clip_g)[._]/, "text encoder 2"],
  [/^(lora_te3|text_encoders\.t5xxl)[._]/, "T5 text encoder"],
  [/^(lora_te1?|text_encoder|text_encoders\.clip_l)[._]/, "text encoder"],
  [/single_(transformer_)?blocks[._]/, "single blocks"],
  [/double_blocks[._]|^transformer\.transformer_blocks\./, "double blocks"],
  [/norm\d?$|_layers[._]0$/, "UNet norms"],
  [/attn\d[._]/, "UNet attention"],
  [/[._]ff[._]/, "UNet feed-forward"],
  [/[._]proj_(in|out)$/, "UNet projections"],
  [/resnets|samplers|_layers[._]|skip_connection|[._]op$|_\d_conv$/, "UNet convolution blocks"],
];

/** What kind of layer it is: "UNet attention". */
export function partOf({ path, name }: Named): Place {
  const found = parts.findIndex(([mark]) => mark.test(path ?? name));
  return {
    name: parts[found]?.[1] ?? "other layers",
    order: found < 0 ? parts.length : (partOrder[parts[found]?.[1] ?? ""] ?? found),
  };
}

/** The UNet first, in the order in which people read of it. */
const partOrder: Readonly<Record<string, number>> = {
  "UNet attention": 0,
  "UNet feed-forward": 1,
  "UNet projections": 2,
  "UNet convolution blocks": 3,
  "UNet norms": 4,
  "double blocks": 5,
  "single blocks": 6,
  "text encoder": 7,
  "text encoder 2": 8,
  "T5 text encoder": 9,
};

const blocks: readonly (readonly [mark: RegExp, name: (number: string) => string, order: number])[] = [
  [/^(?:lora_te2|text_encoder_2|text_encoders\.clip_g)[._]()/, () => "text encoder 2", 501],
  [/^(?:lora_te3|text_encoders\.t5xxl)[._]()/, () => "T5 text encoder", 502],
  [/^(?:lora_te1?|text_encoder|text_encoders\.clip_l)[._]()/, () => "text encoder", 500],
  [/down_blocks[._](\d+)/, (number) => `down ${number}`, 100],
  [/input_blocks[._](\d+)/, (number) => `input ${number}`, 100],
  [/(?:mid_block|middle_block)()/, () => "middle", 200],
  [/up_blocks[._](\d+)/, (number) => `up ${number}`, 300],
  [/output_blocks[._](\d+)/, (number) => `output ${number}`, 300],
  [/single_(?:transformer_)?blocks[._]()/, () => "single blocks", 410],
  [/(?:double_blocks|^transformer\.transformer_blocks)[._]()/, () => "double blocks", 400],
];

/** Which block it is in: "down 1". */
export function blockOf({ path, name }: Named): Place {
  for (const [mark, nameOf, order] of blocks) {
    const match = mark.exec(path ?? name);
    if (match) return { name: nameOf(match[1] ?? ""), order: order + Number(match[1] ?? 0) };
  }
  return { name: "outside blocks", order: 0 };
}
