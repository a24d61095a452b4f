/** A thousand steps leave no more memory resident than a hundred did. Measured in a process of its own. */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { type Claim, formatMegabytes, row } from "./claim.ts";

/** What steady-child.ts prints. */
export interface SteadyMeasurement {
  /** Resident bytes after so many steps. */
  readonly samples: readonly { readonly step: number; readonly residentBytes: number }[];
  readonly msPerStep: number;
}

/** The steps at which memory is read. */
export const sampledSteps: readonly number[] = Array.from({ length: 10 }, (_, i) => 100 * (i + 1));
const tolerance = 0.05;

export const steady: Claim = {
  name: "steady",
  about: "resident memory after 100 and after 1,000 training steps of a small network",
  async run({ threads, machine }) {
    const child = path.join(import.meta.dirname, "steady-child.ts");
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...process.execArgv,
      "--expose-gc",
      child,
      String(threads),
    ]);
    const { samples, msPerStep } = JSON.parse(stdout) as SteadyMeasurement;
    const [first = NaN, last = NaN] = [samples[0]?.residentBytes, samples.at(-1)?.residentBytes];
    const ratio = last / first;
    const verdict = Math.abs(ratio - 1) <= tolerance ? "flat within 5 %" : `${ratio > 1 ? "GREW" : "shrank"} by more than 5 %`;
    return [
      "A thousand training steps of a small UNet with LoRA",
      ...machine,
      row("time", `${msPerStep.toFixed(1)} ms a step`),
      row("resident", samples.map(({ residentBytes }) => formatMegabytes(residentBytes)).join(", ")),
      row("ratio", `${ratio.toFixed(3)} of step 1,000 over step 100: ${verdict}`),
    ];
  },
};
