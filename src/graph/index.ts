/** The public face of the waist: the graph, how it is written, and the passes over it. */
export * from "./build.ts";
export * from "./graph.ts";
export { type CostSum, countCost, type GraphCost } from "./cost.ts";
export { type Composite, decompose } from "./decompose.ts";
export { optimise, type OptimiseOptions } from "./passes.ts";
export { printGraph } from "./print.ts";
export { rematerialise, type RematOptions } from "./remat.ts";
export { type Liveness, type LivenessOptions, measureLiveness, scheduleForMemory } from "./schedule.ts";
export { verify } from "./verify.ts";
