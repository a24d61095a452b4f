/**
 * AdamW in one pass over memory. ONNX Runtime has no kernel for it: as separate operators it is sixteen passes for every parameter, about
 * a third of the nodes of a LoRA step, and new arrays for weight, m and v at every step, which its Node binding then copies once more.
 */
import type { AdamWSettings } from "../take-out-adamw.ts";

/** The numbers of one step; `gradScale` 1 where the gradient is used as it is. */
export interface AdamWNumbers extends AdamWSettings {
  readonly gradScale: number;
  readonly learningRate: number;
  readonly correction1: number;
  readonly correction2: number;
}

/** The smallest normal float32. Moments that fade below it become zero: processors are many times slower with what lies between. */
const smallest = 2 ** -126;

/** Loshchilov and Hutter (2019), algorithm 2, in place. Calculates in float64 and rounds what it stores. */
export function applyAdamW(
  weight: Float32Array,
  m: Float32Array,
  v: Float32Array,
  grad: Float32Array,
  numbers: AdamWNumbers,
): void {
  const { beta1, beta2, eps, weightDecay, gradScale, learningRate, correction1, correction2 } = numbers;
  const decay = 1 - learningRate * weightDecay;
  const rate = learningRate / correction1;
  const rootFactor = 1 / Math.sqrt(correction2);
  const gain1 = (1 - beta1) * gradScale;
  const gain2 = (1 - beta2) * gradScale * gradScale;
  for (let i = 0; i < weight.length; i++) {
    const g = grad[i] ?? 0;
    const mean = beta1 * (m[i] ?? 0) + gain1 * g;
    const square = beta2 * (v[i] ?? 0) + gain2 * g * g;
    m[i] = Math.abs(mean) < smallest ? 0 : mean;
    v[i] = square < smallest ? 0 : square;
    weight[i] = decay * (weight[i] ?? 0) - (rate * mean) / (Math.sqrt(square) * rootFactor + eps);
  }
}
