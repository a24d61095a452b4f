/** What `gesso plan` says that a run will take, against what it then takes: memory and step time, over plans that differ. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import sharp from "sharp";
import type { RunProspect, TrainEvent } from "../src/index.ts";
import { builtFile } from "./built.ts";
import { type Claim, formatMegabytes, median, row } from "./claim.ts";

const examples = path.join(import.meta.dirname, "../examples");
const steps = 24;
/** The first steps of a run are those in which memory is found and threads are started. */
const unsteadySteps = 4;
const memoryBound = 0.1;
const timeBound = 0.25;

interface PlanCase {
  readonly name: string;
  readonly options: readonly string[];
  /** Pictures in three shapes instead of one. */
  readonly isMixed?: boolean;
}

const plain = ["--no-previews"];
const cases: readonly PlanCase[] = [
  { name: "as a style is planned, with previews", options: ["--preview-every", "0"] },
  { name: "batch 1, rank 4, attention", options: [...plain, "--batch", "1", "--rank", "4", "--targets", "attention"] },
  { name: "batch 8", options: [...plain, "--batch", "8"] },
  { name: "batch 8, recomputed", options: [...plain, "--batch", "8", "--recompute"] },
  { name: "LoCon, rank 16", options: [...plain, "--targets", "locon", "--rank", "16"] },
  { name: "text encoders too", options: [...plain, "--text-encoder-learning-rate", "5e-5"] },
  { name: "two batches in a step", options: [...plain, "--batch", "2", "--accumulate", "2"] },
  { name: "192 px", options: [...plain, "--resolution", "192", "--batch", "2"] },
  { name: "three shapes of pictures", options: plain, isMixed: true },
];

interface Outcome {
  readonly name: string;
  readonly predictedBytes: number;
  readonly peakBytes: number;
  readonly predictedSeconds: number;
  readonly seconds: number;
}

export const forecast: Claim = {
  name: "forecast",
  about: `memory and step time as gesso plan says them, against ${cases.length} runs of ${steps} steps; takes minutes`,
  async run({ machine }) {
    const folder = await mkdtemp(path.join(tmpdir(), "gesso-forecast-"));
    try {
      const [single, mixed] = [path.join(examples, "style-blueprint"), path.join(folder, "mixed")];
      await mixShapes(single, mixed);
      const outcomes: Outcome[] = [];
      for (const [i, each] of cases.entries()) {
        outcomes.push(await compare(each, each.isMixed ? mixed : single, path.join(folder, `runs-${i}`)));
      }
      return describe(outcomes, machine);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

/** The pictures cut to a square, an upright and a lying rectangle in turn, with their captions. */
async function mixShapes(from: string, to: string): Promise<void> {
  await mkdir(to);
  const names = (await readdir(from)).filter((name) => name.endsWith(".png"));
  for (const [i, name] of names.entries()) {
    const [width, height] = (
      [
        [512, 512],
        [512, 384],
        [384, 512],
      ] as const
    )[i % 3] ?? [512, 512];
    await sharp(path.join(from, name)).resize(width, height, { fit: "cover" }).png().toFile(path.join(to, name));
    await cp(path.join(from, name.replace(".png", ".txt")), path.join(to, name.replace(".png", ".txt")));
  }
}

async function compare({ name, options }: PlanCase, dataset: string, out: string): Promise<Outcome> {
  const settings = ["--type", "style", "--trigger", "blueprint", "--engine", "ort", "--steps", String(steps), ...options];
  const { forecast: told } = JSON.parse(await gesso(["plan", dataset, ...settings, "--json"])) as RunProspect;
  await mkdir(out);
  await gesso(["train", dataset, ...settings, "--out", out, "--yes"]);
  const [run = ""] = await readdir(out);
  const events = await readEvents(path.join(out, run, "events.jsonl"));
  const memory = events.find((event) => event.type === "memory");
  if (!memory) throw new Error(`forecast: ${name}: the run tells nothing of its memory`);
  const durations = events.flatMap((event) => (event.type === "step" && event.step > unsteadySteps ? [event.durationMs] : []));
  return {
    name,
    predictedBytes: told.memory.peakBytes,
    peakBytes: memory.peakBytes,
    predictedSeconds: told.time.stepSeconds,
    seconds: median(durations) / 1000,
  };
}

/** The command as users have it, in a process of its own. */
async function gesso(args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [await builtFile("cli/main.js"), ...args], {
    maxBuffer: 2 ** 26,
  });
  return stdout;
}

async function readEvents(file: string): Promise<readonly TrainEvent[]> {
  const lines = (await readFile(file, "utf8")).split("\n");
  return lines.flatMap((line) => (line === "" ? [] : [JSON.parse(line) as TrainEvent]));
}

function describe(outcomes: readonly Outcome[], machine: readonly string[]): readonly string[] {
  const memoryOf = ({ peakBytes, predictedBytes }: Outcome): number => peakBytes / predictedBytes;
  const timeOf = ({ seconds, predictedSeconds }: Outcome): number => seconds / predictedSeconds;
  const within = (ratios: readonly number[], bound: number): string =>
    `${ratios.filter((ratio) => Math.abs(ratio - 1) <= bound).length} of ${ratios.length} within ${100 * bound} %`;
  return [
    `Runs of ${steps} steps on mini: measured / predicted`,
    ...machine,
    ...outcomes.map((outcome) => {
      const { name, peakBytes, predictedBytes, seconds, predictedSeconds } = outcome;
      const memory = `${memoryOf(outcome).toFixed(2)} (${formatMegabytes(peakBytes)} of ${formatMegabytes(predictedBytes)})`;
      const time = `${timeOf(outcome).toFixed(2)} (${seconds.toFixed(3)} of ${predictedSeconds.toFixed(3)} s)`;
      return `  ${name.padEnd(40)} memory ${memory.padEnd(26)} step ${time}`;
    }),
    row("memory", within(outcomes.map(memoryOf), memoryBound)),
    row("time", within(outcomes.map(timeOf), timeBound)),
  ];
}
