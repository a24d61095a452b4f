/**
 * Lowers the two gradients of a convolution. Weights are inputs of the model, so ONNX Runtime prepares nothing ahead for them. The forms
 * were chosen by bench/ort-forms.ts.
 */
import type { NodeOf, Shape } from "../../graph/graph.ts";
import type { ModelBuilder, OnnxName } from "./emit.ts";

type Sizes4 = readonly [number, number, number, number];

function sizes4(shape: Shape): Sizes4 {
  const [a = 1, b = 1, c = 1, d = 1] = shape;
  return [a, b, c, d];
}

/** The gradient for the input: with stride 1 a convolution with the kernels turned round, else a transposed convolution. */
export function lowerConvGradInput(
  model: ModelBuilder,
  [ct = "", w = ""]: readonly OnnxName[],
  node: NodeOf<"Conv2dGradInput">,
): OnnxName {
  const { stride, padding } = node.attrs;
  const [, , kh, kw] = sizes4(node.inputs[1].shape);
  const [top, left] = padding;
  if (kh === 1 && kw === 1 && stride === 1 && padding.every((amount) => amount === 0))
    return pointwiseGradInput(model, ct, w, node);
  if (stride === 1 && top < kh && left < kw) return turnedConv(model, ct, w, node);
  return transposedConv(model, ct, w, node);
}

/** A 1x1 convolution is a matrix product over channels: [O, C]ᵀ x [B, O, H W]. */
function pointwiseGradInput(model: ModelBuilder, ct: OnnxName, w: OnnxName, node: NodeOf<"Conv2dGradInput">): OnnxName {
  const [batch, out, height, width] = sizes4(node.inputs[0].shape);
  const [, channels] = sizes4(node.attrs.inputShape);
  const weights = model.node("Reshape", [w, model.shape([out, channels])]);
  const rows = model.node("Reshape", [ct, model.shape([batch, out, height * width])]);
  const product = model.node("com.microsoft:FusedMatMul", [weights, rows], { transA: 1, transB: 0 });
  return model.node("Reshape", [product, model.shape(node.attrs.inputShape)]);
}

function turnedConv(model: ModelBuilder, ct: OnnxName, w: OnnxName, node: NodeOf<"Conv2dGradInput">): OnnxName {
  const [out, channels, kh, kw] = sizes4(node.inputs[1].shape);
  const [, , height, width] = sizes4(node.attrs.inputShape);
  const [, , outHeight, outWidth] = sizes4(node.inputs[0].shape);
  const [top, left] = node.attrs.padding;
  const [padTop, padLeft] = [kh - 1 - top, kw - 1 - left];
  // As many rows behind as give the input's height again.
  const [padBottom, padRight] = [height - 1 - outHeight - padTop + kh, width - 1 - outWidth - padLeft + kw];
  if (padBottom < 0 || padRight < 0) return transposedConv(model, ct, w, node);
  const kernels = turnKernels(model, w, [out, channels, kh, kw]);
  return model.node("Conv", [ct, kernels], { pads: [padTop, padLeft, padBottom, padRight] });
}

/**
 * [O, C, kh, kw] -> [C, O, kh, kw] with every kernel turned by 180 degrees: a product with a matrix that reverses the places, which swaps
 * the channels as it goes. Slicing backwards and transposing does the same and takes several times as long.
 */
function turnKernels(model: ModelBuilder, w: OnnxName, [out, channels, kh, kw]: Sizes4): OnnxName {
  const places = kh * kw;
  const reversal = Array.from({ length: places * places }, (_, i) =>
    Math.floor(i / places) + (i % places) === places - 1 ? 1 : 0,
  );
  const rows = model.node("Reshape", [w, model.shape([out, channels, places])]);
  const matrix = model.constant(reversal, [1, places, places]);
  const turned = model.node("com.microsoft:FusedMatMul", [rows, matrix], { transBatchA: 1 });
  return model.node("Reshape", [turned, model.shape([channels, out, kh, kw])]);
}

/** ConvTranspose is the adjoint of Conv; `output_padding` gives back the rows and columns that a stride left over. */
function transposedConv(model: ModelBuilder, ct: OnnxName, w: OnnxName, node: NodeOf<"Conv2dGradInput">): OnnxName {
  const { stride, padding, inputShape } = node.attrs;
  const [top, left, bottom, right] = padding;
  const [, , height, width] = sizes4(inputShape);
  const [, , outHeight, outWidth] = sizes4(node.inputs[0].shape);
  const [, , kh, kw] = sizes4(node.inputs[1].shape);
  const rest = (size: number, out: number, k: number, pads: number): number => size - (stride * (out - 1) + k - pads);
  return model.node("ConvTranspose", [ct, w], {
    strides: [stride, stride],
    pads: padding,
    output_padding: [rest(height, outHeight, kh, top + bottom), rest(width, outWidth, kw, left + right)],
  });
}

/**
 * The gradient for the weight: for every place in the kernel the product of the cotangent and the part of the padded input that the
 * place saw, over the whole batch at once. Where the cotangent has fewer channels than the input (the down-projection of a LoRA),
 * the cotangent is shifted instead, and one product does all places.
 */
export function lowerConvGradWeight(
  model: ModelBuilder,
  [x = "", ct = ""]: readonly OnnxName[],
  node: NodeOf<"Conv2dGradWeight">,
): OnnxName {
  const { stride, padding, kernel } = node.attrs;
  const [, channels] = sizes4(node.inputs[0].shape);
  const [, out] = sizes4(node.inputs[1].shape);
  const canShift = stride === 1 && padding[0] < kernel[0] && padding[1] < kernel[1];
  const places = canShift && out < channels ? shiftCotangent(model, x, ct, node) : shiftInput(model, x, ct, node);
  const [kh, kw] = kernel;
  const turned = kh * kw === 1 ? places : model.node("Transpose", [places], { perm: [1, 0] });
  return model.node("Reshape", [turned, model.shape([out, channels, kh, kw])]);
}

/** [kh kw, O C] */
function shiftInput(model: ModelBuilder, x: OnnxName, ct: OnnxName, node: NodeOf<"Conv2dGradWeight">): OnnxName {
  const { stride, padding, kernel } = node.attrs;
  const [batch, channels] = sizes4(node.inputs[0].shape);
  const [, out, height, width] = sizes4(node.inputs[1].shape);
  const [top, left, bottom, right] = padding;
  const padded = pad(model, channelsFirst(model, x, node.inputs[0].shape), [top, left, bottom, right]);
  const positions = batch * height * width;
  const rows = model.node("Reshape", [channelsFirst(model, ct, node.inputs[1].shape), model.shape([out, positions])]);
  const products = placesOf(kernel).map(([i, j]) => {
    const part = window(model, padded, [i, j], [height, width], stride);
    const seen = model.node("Reshape", [part, model.shape([channels, positions])]);
    const product = model.node("com.microsoft:FusedMatMul", [rows, seen], { transA: 0, transB: 1 }); // [O, C]
    return model.node("Reshape", [product, model.shape([1, out * channels])]);
  });
  return concat(model, products);
}

/** [kh kw, O C] */
function shiftCotangent(model: ModelBuilder, x: OnnxName, ct: OnnxName, node: NodeOf<"Conv2dGradWeight">): OnnxName {
  const { padding, kernel } = node.attrs;
  const [batch, channels, height, width] = sizes4(node.inputs[0].shape);
  const [, out, outHeight, outWidth] = sizes4(node.inputs[1].shape);
  const [kh, kw] = kernel;
  const [top, left] = padding;
  const [before, beside] = [kh - 1 - top, kw - 1 - left];
  // Shifted by a place, the cotangent lies where the input was seen from there; rows that fall outside meet zeros.
  const [behind, beyond] = [Math.max(0, height + top - outHeight), Math.max(0, width + left - outWidth)];
  const padded = pad(model, channelsFirst(model, ct, node.inputs[1].shape), [before, beside, behind, beyond]);
  const positions = batch * height * width;
  const parts = placesOf(kernel).map(([i, j]) => {
    const part = window(model, padded, [kh - 1 - i, kw - 1 - j], [height, width], 1);
    return model.node("Reshape", [part, model.shape([out, positions])]);
  });
  const inputs = model.node("Reshape", [channelsFirst(model, x, node.inputs[0].shape), model.shape([channels, positions])]);
  const product = model.node("com.microsoft:FusedMatMul", [concat(model, parts), inputs], { transA: 0, transB: 1 });
  return model.node("Reshape", [product, model.shape([kh * kw, out * channels])]);
}

function placesOf([kh, kw]: readonly [number, number]): readonly (readonly [number, number])[] {
  return Array.from({ length: kh * kw }, (_, place) => [Math.floor(place / kw), place % kw] as const);
}

/** [B, C, H, W] -> [C, B, H, W], so that a product can sum over the whole batch. */
function channelsFirst(model: ModelBuilder, x: OnnxName, shape: Shape): OnnxName {
  const [batch, channels, height, width] = sizes4(shape);
  if (batch === 1) return model.node("Reshape", [x, model.shape([channels, batch, height, width])]);
  return model.node("Transpose", [x], { perm: [1, 0, 2, 3] });
}

function pad(model: ModelBuilder, x: OnnxName, [top, left, bottom, right]: Sizes4): OnnxName {
  if (top + left + bottom + right === 0) return x;
  return model.node("Pad", [x, model.int64s([0, 0, top, left, 0, 0, bottom, right])]);
}

function window(
  model: ModelBuilder,
  x: OnnxName,
  [top, left]: readonly [number, number],
  [height, width]: readonly [number, number],
  stride: number,
): OnnxName {
  const starts = model.int64s([top, left]);
  const ends = model.places([top + (height - 1) * stride + 1, left + (width - 1) * stride + 1]);
  return model.node("Slice", [x, starts, ends, model.int64s([2, 3]), model.int64s([stride, stride])]);
}

function concat(model: ModelBuilder, parts: readonly OnnxName[]): OnnxName {
  return parts.length === 1 ? (parts[0] ?? "") : model.node("Concat", parts, { axis: 0 });
}
