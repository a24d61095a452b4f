/** Real LoRA steps on a base model of SDXL's full size, through the public API, with the peak memory of the whole run. */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { UserError } from "../src/errors.ts";
import { type Claim, formatTimes, median, row } from "./claim.ts";

/** What one compiled graph of the run took. */
export interface ExecutableTimes {
  readonly compileMs: number;
  readonly runMs: readonly number[];
  /** Of one run. */
  readonly flops: number;
}

/** What sdxl-step-child.ts prints. */
export interface SdxlStepMeasurement {
  readonly layers: number;
  readonly trainedParameters: number;
  /** Reading and hashing the files, before the plan. */
  readonly openMs: number;
  /** Bringing weights into the engine, and how many bytes. */
  readonly loadMs: number;
  readonly loadedBytes: number;
  /** By name: VAE encoder, text encoders, loss, step. */
  readonly executables: Readonly<Record<string, ExecutableTimes>>;
  readonly losses: readonly number[];
  readonly stepMs: readonly number[];
  /** Resident bytes of the process when each part of the run ended, and the most until then. */
  readonly memory: readonly { readonly after: string; readonly residentBytes: number; readonly peakBytes: number }[];
  readonly matmulFlopsPerSecond: number;
}

/** Side of the pictures, the adapters' rank. */
export const sidePx = 512;
export const rank = 16;
/** What the project promises for SDXL on the CPU. */
const boundBytes = 20e9;

export const sdxlStep: Claim = {
  name: "sdxl-step",
  about: `LoRA steps on a base of SDXL's size (--base): time and peak memory; ${sidePx} px, rank ${rank}; only when it is named`,
  onlyWhenNamed: true,
  async run({ base, threads, steps, machine }) {
    if (base === undefined) {
      const fix = "npm run bench -- make-sdxl --out .cache/full-size, then --base .cache/full-size/sdxl.safetensors";
      throw new UserError("sdxl-step needs --base with a model of SDXL's size.", { fix, exitCode: 2 });
    }
    const child = path.join(import.meta.dirname, "sdxl-step-child.ts");
    const args = [...process.execArgv, child, path.resolve(base), String(threads), String(steps)];
    const running = promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 26 });
    // It takes minutes: what the run tells is shown as it comes.
    running.child.stderr?.pipe(process.stderr);
    const { stdout } = await running;
    const measured = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as SdxlStepMeasurement;
    return [
      `LoRA steps on ${path.basename(base)}: ${sidePx} px, batch 1, rank ${rank}, attention`,
      ...machine,
      ...describe(measured),
    ];
  },
};

function describe(measured: SdxlStepMeasurement): readonly string[] {
  const { layers, trainedParameters, openMs, loadMs, loadedBytes, executables, losses, stepMs, matmulFlopsPerSecond } =
    measured;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  const giga = (value: number): string => (value / 1e9).toFixed(2);
  const graphs = Object.entries(executables).map(([name, { compileMs, runMs }]) =>
    row("graph", `${name}: compiled in ${seconds(compileMs)}, run in ${runMs.map(seconds).join(", ")}`),
  );
  const step = Object.entries(executables).find(([name]) => name.startsWith("step "))?.[1];
  const rate = (step?.flops ?? NaN) / (median(stepMs) / 1000);
  const peak = Math.max(...measured.memory.map(({ peakBytes }) => peakBytes));
  return [
    row("adapter", `${layers} layers, ${trainedParameters.toLocaleString("en")} numbers`),
    row("open", `${seconds(openMs)}, hashing included`),
    row("load", `${seconds(loadMs)} for ${giga(loadedBytes)} GB of float32`),
    ...graphs,
    row("losses", losses.map((loss) => loss.toFixed(4)).join(", ")),
    row("step", formatTimes(stepMs)),
    row("share", `${giga(rate)} GFLOP/s, ${((100 * rate) / matmulFlopsPerSecond).toFixed(0)} % of a plain matrix product's`),
    ...measured.memory.map(({ after, residentBytes, peakBytes }) =>
      row("resident", `${giga(residentBytes)} GB after ${after} (at most ${giga(peakBytes)} GB until then)`),
    ),
    row("peak", `${giga(peak)} GB; the bound is ${giga(boundBytes)} GB: ${peak <= boundBytes ? "kept" : "NOT KEPT"}`),
  ];
}
