/** What the programs of this folder share: a claim that can be measured, and how its numbers are shown. */
import { freemem, loadavg, totalmem } from "node:os";

/** How thoroughly to measure. */
export interface BenchOptions {
  /** Threads of the engine and of PyTorch. */
  readonly threads: number;
  /** Turns that each side gets, one after the other. */
  readonly rounds: number;
  /** Steps with the clock on, in each turn. */
  readonly steps: number;
  /** Steps before the clock is on, in each turn. */
  readonly warmup: number;
  /** Pictures that inspect looks at. */
  readonly pictures: number;
  /** One part of what a claim is measured on; undefined for all. */
  readonly part: string | undefined;
  /** A Python interpreter with torch, diffusers and peft. */
  readonly python: string | undefined;
  /** A base model to measure with. */
  readonly base: string | undefined;
  /** The folder for what is made. */
  readonly out: string | undefined;
  /** A base model as one file, or in the diffusers layout. */
  readonly form: "file" | "folder";
  /** With blocks that a processor can run, where a claim has such. */
  readonly isReduced: boolean;
  /** Lines about the machine, as `describeMachine` found it before the first measurement. */
  readonly machine: readonly string[];
}

/** One measurement: its name on the command line, what it shows, and the program, which gives lines to print. */
export interface Claim {
  readonly name: string;
  readonly about: string;
  /** Left out when all claims are measured: it needs files or memory that most machines lack. */
  readonly onlyWhenNamed?: boolean;
  run(options: BenchOptions): Promise<readonly string[]>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = NaN, high = low] = sorted.slice(Math.ceil(middle) - 1, Math.floor(middle) + 1);
  return (low + high) / 2;
}

/** "412 ms" with the spread behind it: "412 ms (395 to 470)". */
export function formatTimes(ms: readonly number[]): string {
  const digits = median(ms) < 100 ? 1 : 0;
  const [middle, low, high] = [median(ms), Math.min(...ms), Math.max(...ms)].map((value) => value.toFixed(digits));
  return `${middle} ms, the median of ${ms.length} (${low} to ${high})`;
}

export function formatMegabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** A row of a report: a short word, and what was found. */
export function row(label: string, text: string): string {
  return `  ${label.padEnd(11)}${text}`;
}

/** More than this many other programs that want a processor, on average over a minute, and the clock measures them. */
const quietLoad = 0.5;

/** The machine, and how busy others keep it. To be asked before anything is run, or our own work counts. */
export function describeMachine(device: string): readonly string[] {
  const gigabytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(0);
  const load = loadavg()[0] ?? 0;
  const memory = `${gigabytes(freemem())} of ${gigabytes(totalmem())} GiB free`;
  const machine = row("machine", `${device}, ${memory}, load ${load.toFixed(1)}, node ${process.version}`);
  if (load <= quietLoad) return [machine];
  return [machine, row("NOT QUIET", "other programs want the processors: do not quote the times and ratios below")];
}
