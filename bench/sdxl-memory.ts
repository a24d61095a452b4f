/** What a LoRA step on SDXL will take in memory, with and without recomputing blocks: predicted from the graph alone, nothing is run. */
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { countCost } from "../src/graph/cost.ts";
import type { Graph } from "../src/graph/graph.ts";
import { optimise } from "../src/graph/passes.ts";
import { type Claim, row } from "./claim.ts";
import { predictMemory } from "./memory.ts";
import { buildSdxlStep } from "./sdxl-graph.ts";
import { rank } from "./sdxl-step.ts";

const sidesPx = [512, 1024];
const pixelsPerLatent = 8;

export const sdxlMemory: Claim = {
  name: "sdxl-memory",
  about: "predicted memory of a LoRA step on SDXL, with and without recomputing blocks; minutes, only when it is named",
  onlyWhenNamed: true,
  async run({ threads }) {
    const engine = await createOrtEngine({ threads: 1 });
    const keep = engine.composites;
    await engine.dispose();
    const lines: string[] = [];
    for (const sidePx of sidesPx) {
      const step = await buildSdxlStep({ side: sidePx / pixelsPerLatent, rank });
      lines.push(describe(`${sidePx} px`, optimise(step, { keep }), threads));
      lines.push(describe("recomputed", optimise(step, { keep, remat: { blocks: "all" } }), threads));
    }
    return [`LoRA step on SDXL, float32: batch 1, rank ${rank}, attention; all predicted`, ...lines];
  },
};

function describe(label: string, graph: Graph, threads: number): string {
  const { buffers, activations, total } = predictMemory(graph, threads);
  const giga = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  const work = `${(countCost(graph).flops / 1e12).toFixed(1)} TFLOP`;
  return row(label, `${giga(total)}: buffers ${giga(buffers)}, activations at most ${giga(activations)}; ${work}`);
}
