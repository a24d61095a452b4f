/** The steps that are measured, by name. */
import { miniStep } from "./mini-step.ts";
import { residualBlock } from "./residual-block.ts";
import { transformerBlock } from "./transformer-block.ts";
import type { Workload } from "./workload.ts";

export const workloads: readonly Workload[] = [miniStep, transformerBlock, residualBlock];

export function findWorkload(name: string): Workload {
  const found = workloads.find((workload) => workload.name === name);
  if (!found) throw new Error(`bench: there is no workload ${name}`);
  return found;
}
