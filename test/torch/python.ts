/** Which Python the tests of the torch engine run on; without one they are skipped, and say so. */
import { describe } from "vitest";
import type { FloatDType } from "../../src/graph/graph.ts";
import { createTorchEngine, type TorchEngine, type TorchOptions } from "../../src/engines/torch/engine.ts";

/** Set by `npm run test:torch`, or by hand. */
export const python = process.env.GESSO_TORCH_PYTHON;

const reason = "skipped: GESSO_TORCH_PYTHON names no Python with torch; npm run test:torch looks for one";

/** A group of tests that need PyTorch. */
export function describeTorch(name: string, tests: () => void): void {
  if (python === undefined) describe.skip(`${name} (${reason})`, tests);
  else describe(name, tests);
}

/** Where these tests compute: the processor, unless GESSO_TORCH_DEVICE says "cuda" or "mps". */
export const device = process.env.GESSO_TORCH_DEVICE ?? "cpu";

/** An engine with one thread. */
export function openTorch(precision: FloatDType = "float32", more: Partial<TorchOptions> = {}): Promise<TorchEngine> {
  return createTorchEngine({ python: python ?? "python3", precision, device, threads: 1, ...more });
}
