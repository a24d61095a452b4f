/** One transformer block at SDXL's width: forward and backward, LoRA on its linear layers. */
import { Graph, type Node, type Value } from "../src/graph/graph.ts";
import { copyNode } from "../src/graph/rewrite.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { transformer2d } from "../src/models/unet/transformer.ts";
import { createParams } from "../src/nn/params.ts";
import { buildLoraBlock } from "./lora-block.ts";
import type { Workload } from "./workload.ts";

const [width, heads, side, textTokens, textWidth, rank] = [640, 10, 64, 77, 2048, 8];

/** The block of a whole Transformer2DModel, without the norm and the projections around it. */
function appendBlock(x: Value): Value {
  const whole = new Graph();
  const context = whole.buffer("context", [1, textTokens, textWidth]);
  const config = parseUnetConfig({ cross_attention_dim: textWidth, use_linear_projection: true });
  const params = createParams(whole, "model");
  transformer2d(params, whole.buffer("pixels", [1, width, side, side]), context, { heads, depth: 1 }, config);

  const inBlock = (node: Node): boolean => node.block === "model.transformer_blocks.0";
  const copies = new Map<Value, Value>();
  let last: Value | undefined;
  for (const node of whole.nodes) {
    if (!inBlock(node) && node.op !== "Input") continue;
    // What the block reads from outside and is no input is the one value that comes out of proj_in.
    const inputs = (node.inputs as readonly Value[]).map((input) => copies.get(input) ?? x);
    const outputs = x.graph.marked(node, () => copyNode(node, inputs, x.graph));
    node.outputs.forEach((old, i) => {
      const copy = outputs[i];
      if (copy) copies.set(old, copy);
    });
    if (inBlock(node)) last = outputs[0];
  }
  if (!last) throw new Error("transformer-block: the model has no block");
  return last;
}

export const transformerBlock: Workload = {
  name: "transformer-block",
  title: `SDXL's transformer block, forward and backward: width ${width}, ${heads} heads, ${side ** 2} tokens, text ${textTokens} x ${textWidth}, rank ${rank}`,
  build: () => Promise.resolve(buildLoraBlock([1, side ** 2, width], rank, appendBlock)),
  feeds: () => ({}),
  torch: () =>
    Promise.resolve(["blocks.py", "transformer", "--width", String(width), "--size", String(side), "--rank", String(rank)]),
};
