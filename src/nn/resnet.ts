/** The convolutional blocks that the UNet and the autoencoder share: diffusers' ResnetBlock2D, Downsample2D and Upsample2D. */
import { add, reshape, silu, sliceAxis, upsampleNearest } from "../graph/build.ts";
import type { Value } from "../graph/graph.ts";
import { axisSize, conv, groupNorm, linear } from "./layers.ts";
import type { Params } from "./params.ts";

export interface ResnetOptions {
  readonly channels: number;
  readonly groups: number;
  readonly eps: number;
}

/**
 * diffusers' `ResnetBlock2D`: x + conv2(silu(norm2(conv1(silu(norm1(x))) + time))), with a 1 x 1 `conv_shortcut` where the number
 * of channels changes. One block for rematerialisation.
 *
 * @param x [B, C, H, W]
 * @param siluTime silu of the time embedding [B, T], the same for all blocks of a network; none in an autoencoder
 * @returns [B, channels, H, W]
 */
export function resnetBlock(params: Params, x: Value, siluTime: Value | undefined, options: ResnetOptions): Value {
  const { channels, groups, eps } = options;
  return params.block(() => {
    let h = silu(groupNorm(params.at("norm1"), x, groups, eps));
    h = conv(params.at("conv1"), h, channels, { kernel: 3, padding: 1 });
    if (siluTime) {
      const time = linear(params.at("time_emb_proj"), siluTime, channels); // [B, channels]
      h = add(h, reshape(time, [axisSize(time, 0), channels, 1, 1]));
    }
    h = silu(groupNorm(params.at("norm2"), h, groups, eps));
    h = conv(params.at("conv2"), h, channels, { kernel: 3, padding: 1 });
    const shortcut = axisSize(x, 1) === channels ? x : conv(params.at("conv_shortcut"), x, channels, { kernel: 1 });
    return add(shortcut, h);
  });
}

/**
 * diffusers' `Downsample2D`: a 3 x 3 convolution of stride 2. Padding 0 there means one row below and one column to the right.
 *
 * @returns [B, C, ceil(H / 2), ceil(W / 2)] for padding 1, with floor for padding 0
 */
export function downsample(params: Params, x: Value, padding: number): Value {
  return params.scope(() =>
    conv(params.at("conv"), x, axisSize(x, 1), { kernel: 3, stride: 2, padding: padding === 0 ? [0, 0, 1, 1] : padding }),
  );
}

/**
 * diffusers' `Upsample2D`: nearest neighbour to twice the size, or to `size` where that is one pixel less, then a 3 x 3 convolution.
 *
 * @returns [B, C, ...size], or [B, C, 2 H, 2 W]
 */
export function upsample(params: Params, x: Value, size?: readonly [height: number, width: number]): Value {
  return params.scope(() => {
    const doubled = upsampleNearest(x, 2);
    const cropped = size ? cropByOne(cropByOne(doubled, 2, size[0]), 3, size[1]) : doubled;
    return conv(params.at("conv"), cropped, axisSize(x, 1), { kernel: 3, padding: 1 });
  });
}

/** Nearest neighbour to 2 n - 1 pixels reads what the first 2 n - 1 of 2 n read; other sizes would read other pixels. */
function cropByOne(doubled: Value, axis: 2 | 3, size: number): Value {
  const twice = axisSize(doubled, axis);
  if (size !== twice && size !== twice - 1)
    throw new Error(`upsample: ${twice} or ${twice - 1} pixels can be made, got ${size}`);
  return sliceAxis(doubled, axis, 0, size);
}
