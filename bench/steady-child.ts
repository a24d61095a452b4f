/** The process in which steady.ts measures: runs a thousand steps of a small network and prints its memory on the way, as a line of JSON. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { unetConfig } from "../scripts/mini/configs.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { sampledSteps, type SteadyMeasurement } from "./steady.ts";
import { unetStep } from "./unet-step.ts";
import { load, prepare, writeRandomNumbers } from "./workload.ts";

const small = unetStep({
  name: "small-step",
  title: "",
  config: { ...unetConfig, block_out_channels: [16, 32, 32], layers_per_block: 1, attention_head_dim: [2, 2, 2] },
  batch: 2,
  side: 8,
  rank: 4,
});

async function main(threads: number): Promise<SteadyMeasurement> {
  const folder = await mkdtemp(path.join(tmpdir(), "gesso-bench-"));
  const engine = await createOrtEngine({ threads });
  try {
    const graph = await prepare(small, engine);
    const { step } = await load(engine, small, graph, await writeRandomNumbers(folder, graph));
    // What making and compiling the graph left behind would otherwise be collected somewhere on the way.
    globalThis.gc?.();
    const samples: { step: number; residentBytes: number }[] = [];
    const start = performance.now();
    for (let i = 1; i <= Math.max(...sampledSteps); i++) {
      await step();
      if (sampledSteps.includes(i)) samples.push({ step: i, residentBytes: process.memoryUsage.rss() });
    }
    const msPerStep = (performance.now() - start) / Math.max(...sampledSteps);
    return { samples, msPerStep };
  } finally {
    await engine.dispose();
    await rm(folder, { recursive: true });
  }
}

console.log(JSON.stringify(await main(Number(process.argv[2] ?? 1))));
