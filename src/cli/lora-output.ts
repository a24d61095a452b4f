/** What the verbs of gesso lora that write files have in common: their options, where the result goes, and what is said of it. */
import { mkdir, stat } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import { UserError } from "../errors.ts";
import {
  type AdapterDType,
  checkCompatibility,
  type Compatibility,
  openAdapter,
  parseRankChoice,
  type PartReport,
  type RankChoice,
} from "../index.ts";
import { countOf } from "../words.ts";
import type { OptionSpec, Terminal } from "./command.ts";
import { cut, quotePath, wrapText } from "./format.ts";

const dtypeNames = ["float16", "bfloat16", "float32"] as const satisfies readonly AdapterDType[];

/** Options that read the same in every verb. */
export const outputOptions = {
  rank: { kind: "integer", value: "N", about: "The greatest rank of a layer, by SVD.", min: 1 },
  energy: {
    kind: "number",
    value: "SHARE",
    about: "Keep this share of each layer's squared norm, with as small a rank as that takes: 0.99.",
  },
  dtype: { kind: "text", value: "TYPE", about: "Type of the numbers", choices: dtypeNames },
  out: { kind: "text", value: "FILE", about: "Where the result goes. Required." },
  overwrite: { kind: "switch", about: "Replace the file if it is there already." },
  json: { kind: "switch", about: "Print the report as JSON." },
} as const satisfies Record<string, OptionSpec>;

/** @throws UserError for a rank or an energy out of range, or where one is needed and none is given */
export function requireChoice(verb: string, rank: number | undefined, energy: number | undefined): RankChoice {
  const choice = parseRankChoice(rank, energy);
  if (choice) return choice;
  throw wrongUse(verb, "--rank or --energy", "say how much to keep");
}

export function parseDType(text: string | undefined): AdapterDType | undefined {
  return dtypeNames.find((name) => name === text);
}

export function wrongUse(verb: string, what: string, why: string): UserError {
  return new UserError(`gesso lora ${verb} needs ${what}, to ${why}.`, {
    fix: `gesso lora ${verb} --help shows an example.`,
    exitCode: 2,
  });
}

/**
 * Finds out before the work, not after it, that the result could not be written, or would replace something.
 *
 * @param inputs that must stay what they are
 */
export async function prepareOutput(out: string, inputs: readonly string[], overwrite: boolean): Promise<void> {
  if (extname(out).toLowerCase() !== ".safetensors") {
    throw new UserError(`--out ${out} does not end in .safetensors.`, { fix: `Give --out ${out}.safetensors.`, exitCode: 2 });
  }
  if (inputs.some((input) => resolve(input) === resolve(out))) {
    throw new UserError(`--out ${out} is one of the files that are read.`, { fix: "Give another name.", exitCode: 2 });
  }
  const there = await stat(out).catch(() => undefined);
  if (there && !(overwrite && there.isFile())) {
    throw new UserError(`${out} is there already.`, { fix: "Give another --out, or --overwrite to replace it.", exitCode: 2 });
  }
  await mkdir(dirname(out), { recursive: true }).catch((error: unknown) => {
    throw new UserError(`Cannot make the folder ${dirname(out)}.`, { fix: "Correct the path.", cause: error });
  });
}

/** A line that says where the work is. */
export function showProgress(terminal: Terminal, doing: string): (done: number, total: number, layer: string) => void {
  return (done, total, layer) => {
    terminal.status(cut(`${doing} ${done + 1} of ${total}: ${layer}`, terminal.columns - 1));
  };
}

/** One line for each network: how many layers, of what rank, and what was lost. */
export function describeParts(parts: readonly PartReport[]): readonly string[] {
  const width = Math.max(...parts.map(({ part }) => part.length), 0);
  return parts.map(({ part, layers, leastRank, greatestRank, reducedLayers, keptEnergy }) => {
    const rank = leastRank === greatestRank ? `rank ${leastRank}` : `rank ${leastRank} to ${greatestRank}`;
    const kept = reducedLayers === 0 ? "exact" : `${formatShare(keptEnergy)} of the energy kept`;
    return `  ${part.padEnd(width)}  ${countOf(layers, "layer")}, ${rank}, ${kept}`;
  });
}

/** "99.31 %"; never rounded up to all. */
function formatShare(share: number): string {
  return `${(Math.floor(share * 1e4 + 1e-6) / 100).toFixed(2)} %`;
}

/** Prints the report as JSON or as lines. */
export function printReport(terminal: Terminal, json: boolean | undefined, report: object, lines: readonly string[]): void {
  terminal.status("");
  if (json) terminal.out(JSON.stringify(report, null, 2));
  else for (const line of lines) terminal.out(line.startsWith(" ") ? line : wrapText(line, terminal.columns));
}

/** Which programs take the whole of a file that was written, by `checkCompatibility`. */
export function describeLoading(loads: readonly Compatibility[], path: string): readonly string[] {
  const loading = loads.filter(({ loads: verdict }) => verdict === "yes").map(({ program }) => program);
  return [
    `Loads in ${loading.length > 0 ? loading.join(", ") : "none of the programs that Gesso knows"}.`,
    ...(loading.length < loads.length ? [`What the others do with it: gesso lora inspect ${quotePath(path)}`] : []),
  ];
}

/** The same of a file on the disk. */
export async function describeLoadingOf(path: string): Promise<readonly string[]> {
  return describeLoading(checkCompatibility(await openAdapter(path)), path);
}
