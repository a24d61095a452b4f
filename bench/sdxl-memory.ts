/** What a LoRA step on SDXL will take in memory, with and without recomputing blocks: predicted from the graph alone, nothing is run. */
import { readClipVocabulary } from "../src/checkpoints/clip-vocabulary.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { countCost } from "../src/graph/cost.ts";
import type { Graph } from "../src/graph/graph.ts";
import { optimise } from "../src/graph/passes.ts";
import { adapterBufferNames, adapterShapes } from "../src/lora/inject.ts";
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { createClipTokenizer } from "../src/models/clip/tokenizer.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { findAdapterTargets } from "../src/planner/targets.ts";
import { buildStep } from "../src/trainer/denoiser.ts";
import { type Claim, row } from "./claim.ts";
import { fullSizeConfigs } from "./full-size-configs.ts";
import { predictMemory } from "./memory.ts";
import { rank } from "./sdxl-step.ts";

const sidesPx = [512, 1024];
const pixelsPerLatent = 8;

export const sdxlMemory: Claim = {
  name: "sdxl-memory",
  about: "predicted memory of a LoRA step on SDXL, with and without recomputing blocks; minutes, only when it is named",
  onlyWhenNamed: true,
  async run() {
    const engine = await createOrtEngine({ threads: 1 });
    const keep = engine.composites;
    await engine.dispose();
    const lines: string[] = [];
    for (const sidePx of sidesPx) {
      const step = await buildSdxlStep(sidePx / pixelsPerLatent);
      lines.push(describe(`${sidePx} px`, optimise(step, { keep })));
      lines.push(describe("recomputed", optimise(step, { keep, remat: { blocks: "all" } })));
    }
    return [`LoRA step on SDXL, float32: batch 1, rank ${rank}, attention; all predicted`, ...lines];
  },
};

function describe(label: string, graph: Graph): string {
  const { buffers, activations, total } = predictMemory(graph);
  const giga = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  const work = `${(countCost(graph).flops / 1e12).toFixed(1)} TFLOP`;
  return row(label, `${giga(total)}: buffers ${giga(buffers)}, activations at most ${giga(activations)}; ${work}`);
}

async function buildSdxlStep(side: number): Promise<Graph> {
  const { unet: json, textEncoders: encoders } = fullSizeConfigs.sdxl;
  const vocabulary = await readClipVocabulary();
  const textEncoders = (["text_encoder", "text_encoder_2"] as const).map((name) => {
    const config = parseClipTextConfig(encoders[name]);
    return { name, config, tokenizer: createClipTokenizer({ ...vocabulary, maxLength: config.maxPositionEmbeddings }) };
  });
  const base = { unet: parseUnetConfig(json), textEncoders };
  const targets = findAdapterTargets(base, "attention", false);
  const parameters = targets.flatMap(({ path, weightShape }) => {
    const [names, shapes] = [adapterBufferNames({ path }), adapterShapes(weightShape, rank)];
    return [
      { name: names.down, shape: shapes.down },
      { name: names.up, shape: shapes.up },
    ];
  });
  const adapters = targets.map(({ path }) => ({ path, rank, alpha: rank }));
  const optimizer = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, maxGradNorm: 1 };
  const options = { shape: { batch: 1, height: side, width: side }, adapters, text: "embeddings", masked: false } as const;
  return buildStep(base, options, [{ name: "unet", parameters }], optimizer);
}
