/** SDXL's LoRA step on the torch engine against diffusers and PEFT in eager PyTorch, in turn, on the device that there is: what pack-gpu packs, run here. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { UserError } from "../src/errors.ts";
import { type BenchOptions, type Claim, formatMegabytes, median, row } from "./claim.ts";
import { writePack } from "./pack-gpu.ts";

/** A line of bench/torch/pack_run.py. */
interface PackResult {
  readonly program: string;
  readonly failed?: string;
  readonly skipped?: string;
  readonly device?: string;
  readonly msPerStep: number;
  readonly shareOfMatmul?: number;
  readonly peakBytes?: number;
  readonly peakDeviceBytes?: number;
  readonly peakRssBytes?: number;
  readonly peakOverPredicted?: number;
  readonly ratios?: readonly number[];
  readonly losses?: readonly number[];
}

export const torchSdxl: Claim = {
  name: "torch-sdxl",
  about:
    "SDXL's LoRA step, 1024 px, rank 16, bfloat16, on a GPU against diffusers and PEFT (--python); --reduced on the processor",
  onlyWhenNamed: true,
  async run(options) {
    const { python } = options;
    if (python === undefined) {
      throw new UserError("torch-sdxl needs --python with torch, and with diffusers and peft for the ratio.", { exitCode: 2 });
    }
    const folder = await mkdtemp(path.join(tmpdir(), "gesso-pack-"));
    try {
      const predicted = await writePack({ folder, isReduced: options.isReduced });
      return [torchSdxl.about, ...options.machine, ...predicted, ...(await runPack(python, folder, options)).flatMap(describe)];
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

/** @throws UserError with the last that the script said */
export async function runPack(
  python: string,
  folder: string,
  {
    isReduced,
    isOursOnly = false,
    threads,
    rounds,
    steps,
    warmup,
  }: Pick<BenchOptions, "isReduced" | "threads" | "rounds" | "steps" | "warmup"> & {
    readonly isOursOnly?: boolean;
  },
): Promise<readonly PackResult[]> {
  const counts = Object.entries({ threads, rounds, steps, warmup }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const args = [
    path.join(folder, "run.py"),
    ...counts,
    "--device",
    isReduced ? "cpu" : "cuda",
    ...(isOursOnly ? ["--ours-only"] : []),
  ];
  try {
    const { stdout } = await promisify(execFile)(python, args);
    return stdout.trim().split("\n").map((line) => JSON.parse(line) as PackResult); // prettier-ignore
  } catch (error) {
    const { stderr = "", message } = error as Error & { stderr?: string };
    throw new UserError(`${python} could not run the pack: ${stderr.trim().split("\n").at(-1) || message}`, { cause: error });
  }
}

function describe(result: PackResult): readonly string[] {
  const { program, failed, skipped, ratios = [], shareOfMatmul, peakOverPredicted } = result;
  if (failed !== undefined || skipped !== undefined)
    return [row("", `${program}: ${failed ?? `not measured: ${skipped ?? ""}`}`)];
  const peak = result.peakBytes ?? result.peakDeviceBytes ?? result.peakRssBytes ?? NaN;
  const against = peakOverPredicted === undefined ? "" : ` (${peakOverPredicted.toFixed(2)} of the predicted)`;
  const share = shareOfMatmul === undefined ? "" : `, ${(100 * shareOfMatmul).toFixed(0)} % of a plain product's rate`;
  const ratio = ratios.length === 0 ? "" : `; diffusers' time over ours ${median(ratios).toFixed(2)}`;
  return [row("", `${program}: ${result.msPerStep.toFixed(1)} ms${share}, peak ${formatMegabytes(peak)}${against}${ratio}`)];
}
