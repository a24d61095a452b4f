/** Lowers the two gradients of a convolution. Weights are inputs of the model, so ONNX Runtime prepares nothing ahead for them. */
import type { NodeOf, Shape } from "../../graph/graph.ts";
import type { ModelBuilder, OnnxName } from "./emit.ts";

function dims4(shape: Shape): readonly [number, number, number, number] {
  const [a = 1, b = 1, c = 1, d = 1] = shape;
  return [a, b, c, d];
}

/** ConvTranspose is the adjoint of Conv; `output_padding` gives back the rows and columns that a stride left over. */
export function lowerConvGradInput(
  model: ModelBuilder,
  inputs: readonly OnnxName[],
  { inputs: [ct, w], attrs: { stride, padding, inputShape } }: NodeOf<"Conv2dGradInput">,
): OnnxName {
  const [top, left, bottom, right] = padding;
  const [, , height, width] = dims4(inputShape);
  const [, , outHeight, outWidth] = dims4(ct.shape);
  const [, , kh, kw] = dims4(w.shape);
  const rest = (size: number, out: number, k: number, pads: number): number => size - (stride * (out - 1) + k - pads);
  return model.node("ConvTranspose", inputs, {
    strides: [stride, stride],
    pads: padding,
    output_padding: [rest(height, outHeight, kh, top + bottom), rest(width, outWidth, kw, left + right)],
  });
}

/** For every place in the kernel one product: the cotangent x the part of the padded input that this place saw. */
export function lowerConvGradWeight(
  model: ModelBuilder,
  [x = "", ct = ""]: readonly OnnxName[],
  { inputs: [xValue, ctValue], attrs: { stride, padding, kernel } }: NodeOf<"Conv2dGradWeight">,
): OnnxName {
  const [top, left, bottom, right] = padding;
  const [batch, channels] = dims4(xValue.shape);
  const [, out, height, width] = dims4(ctValue.shape);
  const [kh, kw] = kernel;
  const padded = padding.some((amount) => amount !== 0)
    ? model.node("Pad", [x, model.int64s([0, 0, top, left, 0, 0, bottom, right])])
    : x;
  const ctRows = model.node("Reshape", [ct, model.int64s([batch, out, height * width])]);
  const parts: OnnxName[] = [];
  for (let i = 0; i < kh; i++) {
    for (let j = 0; j < kw; j++) {
      const ends = [i + (height - 1) * stride + 1, j + (width - 1) * stride + 1];
      const seen = model.node("Slice", [padded, model.int64s([i, j]), model.int64s(ends), model.int64s([2, 3]), model.int64s([stride, stride])]);
      const rows = model.node("Reshape", [seen, model.int64s([batch, channels, height * width])]);
      const product = model.node("com.microsoft:FusedMatMul", [ctRows, rows], { transA: 0, transB: 1 }); // [B, O, C]
      const sum = batch === 1 ? product : model.node("ReduceSum", [product, model.int64s([0])], { keepdims: 0 });
      parts.push(model.node("Reshape", [sum, model.int64s([out, channels, 1])]));
    }
  }
  const stacked = parts.length === 1 ? (parts[0] ?? "") : model.node("Concat", parts, { axis: 2 });
  return model.node("Reshape", [stacked, model.int64s([out, channels, kh, kw])]);
}
