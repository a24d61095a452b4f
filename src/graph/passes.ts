/** The way from a finished training graph to what an engine runs. */
import { mergeCommonSubexpressions } from "./cse.ts";
import { removeDeadCode } from "./dead-code.ts";
import { type Composite, decompose } from "./decompose.ts";
import type { Graph } from "./graph.ts";
import { rematerialise, type RematOptions } from "./remat.ts";
import { type LivenessOptions, scheduleForMemory } from "./schedule.ts";
import { simplify } from "./simplify.ts";

export interface OptimiseOptions {
  /** Composites that the engine runs whole; the others are taken apart. */
  readonly keep: ReadonlySet<Composite>;
  /** Which blocks to recompute in the backward. Default: none. */
  readonly remat?: RematOptions;
  /** What the engine does without memory of its own, for the schedule. */
  readonly liveness?: LivenessOptions;
}

/**
 * The same function in fewer, cheaper operators. Rematerialisation comes after common subexpressions are merged, so that what the
 * forward and the backward share is recomputed where a block is, and computed once where it is not.
 */
export function optimise(graph: Graph, { keep, remat, liveness = {} }: OptimiseOptions): Graph {
  // Unused operators go first: a composite that nothing reads need not be taken apart.
  const merged = simplifyFully(decompose(removeDeadCode(graph), keep));
  return scheduleForMemory(remat ? rematerialise(merged, remat) : merged, liveness);
}

/** What one simplification leaves is what the next can start from; most graphs are done after two or three. */
function simplifyFully(graph: Graph): Graph {
  let best = mergeCommonSubexpressions(graph);
  for (;;) {
    const next = mergeCommonSubexpressions(simplify(best));
    if (next.nodes.length >= best.nodes.length) return next;
    best = next;
  }
}
