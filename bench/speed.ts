/** A step's time, its rate against a plain matrix product's, and against PyTorch's time for the same step, in turn. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { createOrtEngine, type OrtEngine } from "../src/engines/ort/engine.ts";
import { UserError } from "../src/errors.ts";
import { countCost } from "../src/graph/cost.ts";
import type { Graph } from "../src/graph/graph.ts";
import { type BenchOptions, type Claim, formatMegabytes, formatTimes, median, row } from "./claim.ts";
import { describeMemory, measureMemory, predictMemory } from "./memory.ts";
import { load, prepare, type Workload, writeRandomNumbers } from "./workload.ts";

/** What the scripts of bench/torch print. */
export interface TorchResult {
  readonly engine: string;
  readonly msPerStep: number;
  readonly peakRssBytes: number;
}

/** What was measured in one turn of each side. */
interface Round extends Turns {
  /** Of a plain 1024 x 1024 x 1024 product, right after. */
  readonly matmulFlopsPerSecond: number;
}

export interface Turns {
  readonly ms: readonly number[];
  readonly torch: TorchResult | undefined;
}

/** The claim about one workload: time, rate, memory, and the ratio to PyTorch where there is one. */
export function speedClaim(workload: Workload): Claim {
  return {
    name: workload.name,
    about: workload.title,
    async run(options) {
      const folder = await mkdtemp(path.join(tmpdir(), "gesso-bench-"));
      try {
        return await measure(workload, options, folder);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  };
}

async function measure(workload: Workload, options: BenchOptions, folder: string): Promise<readonly string[]> {
  const torchArguments = options.python === undefined ? [] : await workload.torch(folder);
  const engine = await createOrtEngine({ threads: options.threads });
  try {
    const graph = await prepare(workload, engine);
    const numbersFile = await writeRandomNumbers(folder, graph);
    // Before the clock is on, which the other process must not disturb.
    const memory = await measureMemory(graph, options.threads, numbersFile);
    const { step } = await load(engine, workload, graph, numbersFile);
    const rounds: Round[] = [];
    for (let i = 0; i < options.rounds; i++) rounds.push(await takeTurns(engine, step, options, torchArguments));
    return [
      workload.title,
      ...options.machine,
      ...describeSpeed(graph, rounds),
      ...describeMemory(predictMemory(graph, options.threads), memory),
      ...describeTorch(rounds, memory.peak),
    ];
  } finally {
    await engine.dispose();
  }
}

async function takeTurns(
  engine: OrtEngine,
  step: () => Promise<{ ms: number }>,
  options: BenchOptions,
  torchArguments: readonly string[],
): Promise<Round> {
  for (let i = 0; i < options.warmup; i++) await step();
  const ms: number[] = [];
  for (let i = 0; i < options.steps; i++) ms.push((await step()).ms);
  const { flopsPerSecond } = await engine.measureProfile();
  const { python } = options;
  const torch = python === undefined ? undefined : await runTorch(python, torchArguments, options);
  return { ms, matmulFlopsPerSecond: flopsPerSecond, torch };
}

/** One turn of a script of bench/torch. */
export async function runTorch(
  python: string,
  [script = "", ...args]: readonly string[],
  options: BenchOptions,
): Promise<TorchResult> {
  const file = path.join(import.meta.dirname, "torch", script);
  const { threads, warmup, steps } = options;
  const counts = Object.entries({ threads, warmup, steps }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  try {
    const { stdout } = await promisify(execFile)(python, [file, ...args, ...counts]);
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as TorchResult;
  } catch (error) {
    const { stderr = "", message } = error as Error & { stderr?: string };
    const reason = stderr.trim().split("\n").at(-1) || message;
    throw new UserError(`${python} could not run bench/torch/${script}: ${reason}`, {
      fix: "Give --python an interpreter with torch, diffusers and peft, or leave it out.",
      cause: error,
    });
  }
}

function describeSpeed(graph: Graph, rounds: readonly Round[]): readonly string[] {
  const ms = rounds.flatMap((round) => round.ms);
  const { flops, matmulFlops } = countCost(graph);
  const rate = flops / (median(ms) / 1000);
  const plain = median(rounds.map((round) => round.matmulFlopsPerSecond));
  const giga = (value: number): string => (value / 1e9).toFixed(1);
  const share = ((100 * matmulFlops) / flops).toFixed(0);
  return [
    row("time", formatTimes(ms)),
    row("rate", `${giga(rate)} GFLOP/s (${giga(flops)} GFLOP, ${share} % of them in products and convolutions)`),
    row("share", `${((100 * rate) / plain).toFixed(0)} % of a plain matrix product's ${giga(plain)} GFLOP/s`),
  ];
}

/** The ratio of each round, so that what disturbs one round disturbs both sides alike. */
export function describeTorch(rounds: readonly Turns[], peak: number): readonly string[] {
  const torch = rounds.flatMap((round) => round.torch ?? []);
  const [first] = torch;
  if (!first) return [row("PyTorch", "not measured; --python names an interpreter that has it")];
  const ratios = rounds.flatMap((round) => (round.torch ? [round.torch.msPerStep / median(round.ms)] : []));
  const [middle, low, high] = [median(ratios), Math.min(...ratios), Math.max(...ratios)].map((ratio) => ratio.toFixed(2));
  const theirPeak = Math.max(...torch.map(({ peakRssBytes }) => peakRssBytes));
  return [
    row("PyTorch", `${formatTimes(torch.map(({ msPerStep }) => msPerStep))}, ${first.engine}`),
    row("ratio", `${middle} of PyTorch's time over ours (${low} to ${high} in ${ratios.length} rounds); above 1 we are faster`),
    row("processes", `peak ${formatMegabytes(peak)} ours, ${formatMegabytes(theirPeak)} PyTorch's, runtimes included`),
  ];
}
