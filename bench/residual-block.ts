/** One residual block at SDXL's width: forward and backward, LoRA on its linear layer. */
import { createParams } from "../src/nn/params.ts";
import { resnetBlock } from "../src/nn/resnet.ts";
import { buildLoraBlock } from "./lora-block.ts";
import type { Workload } from "./workload.ts";

const [channels, side, timeWidth, rank] = [320, 64, 1280, 8];

export const residualBlock: Workload = {
  name: "residual-block",
  title: `SDXL's residual block, forward and backward: ${channels} channels at ${side} x ${side}, rank ${rank}`,
  build: () =>
    Promise.resolve(
      buildLoraBlock([1, channels, side, side], rank, (x) => {
        const siluTime = x.graph.buffer("time", [1, timeWidth]);
        return resnetBlock(createParams(x.graph, "block"), x, siluTime, { channels, groups: 32, eps: 1e-5 });
      }),
    ),
  feeds: () => ({}),
  torch: () =>
    Promise.resolve(["blocks.py", "resnet", "--width", String(channels), "--size", String(side), "--rank", String(rank)]),
};
