/** The torch engine's step of `mini` on the processor against eager PyTorch with diffusers and PEFT, both on the same interpreter, in turn. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createTorchEngine } from "../src/engines/torch/engine.ts";
import { type BenchOptions, type Claim, formatTimes, row } from "./claim.ts";
import { miniStep } from "./mini-step.ts";
import { describeTorch, runTorch, type Turns } from "./speed.ts";
import { load, prepare, writeRandomNumbers } from "./workload.ts";

export const torchStep: Claim = {
  name: "torch-step",
  about: "The same step on the torch engine, on the processor, against eager PyTorch; needs --python",
  async run(options) {
    const { python } = options;
    if (python === undefined) return [torchStep.about, row("torch", "not measured; --python names an interpreter that has it")];
    const folder = await mkdtemp(path.join(tmpdir(), "gesso-bench-"));
    try {
      return await measure(python, options, folder);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

async function measure(python: string, options: BenchOptions, folder: string): Promise<readonly string[]> {
  const { threads, rounds, warmup, steps, machine } = options;
  const script = await miniStep.torch(folder);
  const engine = await createTorchEngine({ python, device: "cpu", threads });
  try {
    const graph = await prepare(miniStep, engine);
    const { step } = await load(engine, miniStep, graph, await writeRandomNumbers(folder, graph));
    const turns: Turns[] = [];
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < warmup; i++) await step();
      const ms: number[] = [];
      for (let i = 0; i < steps; i++) ms.push((await step()).ms);
      turns.push({ ms, torch: await runTorch(python, script, options) });
    }
    const { peakBytes } = await engine.memory();
    return [
      `${miniStep.title}; the torch engine on the processor`,
      ...machine,
      row("time", formatTimes(turns.flatMap(({ ms }) => ms))),
      ...describeTorch(turns, peakBytes),
    ];
  } finally {
    await engine.dispose();
  }
}
