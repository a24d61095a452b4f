/** The torch engine's step of `mini` on the processor against eager PyTorch with diffusers and PEFT, and against itself with PyTorch's compiler, all on one interpreter, in turn. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createTorchEngine } from "../src/engines/torch/engine.ts";
import { type BenchOptions, type Claim, formatTimes, median, row } from "./claim.ts";
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
  const { rounds, machine } = options;
  const script = await miniStep.torch(folder);
  const plain = await open(python, options, folder, false);
  const compiled = await open(python, options, folder, true);
  try {
    const turns: Turns[] = [];
    const compiledMs: (readonly number[])[] = [];
    for (let round = 0; round < rounds; round++) {
      const ms = await plain.turn();
      compiledMs.push(await compiled.turn());
      turns.push({ ms, torch: await runTorch(python, script, options) });
    }
    const { peakBytes } = await plain.engine.memory();
    const ratios = compiledMs.map((ms, round) => median(ms) / median(turns[round]?.ms ?? []));
    const [first, middle] = [(compiled.firstMs / 1000).toFixed(0), median(ratios).toFixed(2)];
    return [
      `${miniStep.title}; the torch engine on the processor`,
      ...machine,
      row("time", formatTimes(turns.flatMap(({ ms }) => ms))),
      row(
        "compiled",
        `${formatTimes(compiledMs.flat())} by PyTorch's compiler: ${middle} of that; its first step takes ${first} s`,
      ),
      ...describeTorch(turns, peakBytes),
    ];
  } finally {
    await plain.engine.dispose();
    await compiled.engine.dispose();
  }
}

/** The step on an engine of its own, taken once. */
async function open(python: string, { threads, warmup, steps }: BenchOptions, folder: string, compile: boolean) {
  const engine = await createTorchEngine({ python, device: "cpu", threads, compile });
  const graph = await prepare(miniStep, engine);
  const { step } = await load(engine, miniStep, graph, await writeRandomNumbers(folder, graph));
  const { ms: firstMs } = await step();
  const turn = async (): Promise<readonly number[]> => {
    for (let i = 0; i < warmup; i++) await step();
    const ms: number[] = [];
    for (let i = 0; i < steps; i++) ms.push((await step()).ms);
    return ms;
  };
  return { engine, turn, firstMs };
}
