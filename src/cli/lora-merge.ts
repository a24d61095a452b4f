/** gesso lora merge: several adapters as one, or adapters into a base model. */
import { formatBytes } from "../bytes.ts";
import { UserError } from "../errors.ts";
import { type AdapterSource, mergeAdapters, mergeIntoBase, openBase, parseRankChoice } from "../index.ts";
import { countOf } from "../words.ts";
import { defineCommand, type Terminal } from "./command.ts";
import {
  describeLoadingOf,
  describeParts,
  outputOptions,
  parseDType,
  prepareOutput,
  printReport,
  showProgress,
  wrongUse,
} from "./lora-output.ts";
import { parseLora } from "./grid.ts";

export const loraMergeCommand = defineCommand({
  name: "lora merge",
  summary:
    "Make one LoRA of several, at weights: exactly, with ranks that add up, unless --rank or --energy is given. Or merge them into a base model with --into.",
  positionals: [
    { name: "FILE[:WEIGHT]", about: "a LoRA and how strongly it acts; 1 is as trained", required: true, repeated: true },
  ],
  options: {
    out: { ...outputOptions.out, about: "Where the result goes: a file, or a folder if --into is one. Required." },
    into: {
      kind: "text",
      value: "MODEL",
      about: "Write a copy of this base model (a .safetensors file, a diffusers folder or mini) with the LoRAs in its weights.",
    },
    base: {
      kind: "text",
      value: "MODEL",
      about: "The base model of the LoRAs, where it cannot be told from the files or a DoRA needs its weights.",
    },
    rank: outputOptions.rank,
    energy: outputOptions.energy,
    dtype: { ...outputOptions.dtype, default: "the files' own; float32 where LoRAs differ" },
    overwrite: outputOptions.overwrite,
    json: outputOptions.json,
  },
  examples: [
    "gesso lora merge ink.safetensors:0.8 fox.safetensors:0.5 --out both.safetensors",
    "gesso lora merge ink.safetensors fox.safetensors --energy 0.99 --out both.safetensors",
    "gesso lora merge ink.safetensors:0.8 --into sdxl.safetensors --out sdxl-ink.safetensors",
  ],
  async run({ positionals, options }, terminal) {
    const sources = positionals.map((text) => parseLora(text, ""));
    const { out, into, rank, energy } = options;
    if (out === undefined) throw wrongUse("merge", "--out", "know where the result goes");
    const choice = parseRankChoice(rank, energy);
    if (into !== undefined) {
      if (choice || options.base !== undefined) throw refuseReducing();
      return mergeInto(sources, into, { ...options, out }, terminal);
    }
    await prepareOutput(out, sources.map(({ path }) => path), options.overwrite ?? false); // prettier-ignore
    const report = await mergeAdapters(sources, {
      out,
      choice,
      dtype: parseDType(options.dtype),
      base: options.base === undefined ? undefined : await openBase(options.base),
      signal: terminal.signal,
      onProgress: showProgress(terminal, "merging layer"),
    });
    printReport(terminal, options.json, report, [
      `${out}: ${countOf(report.layers, "layer")} from ${countOf(sources.length, "file")}, ${report.dtype}, ${formatBytes(report.bytes)}.`,
      ...describeParts(report.parts),
      ...(await describeLoadingOf(out)),
    ]);
    return 0;
  },
});

function refuseReducing(): UserError {
  return new UserError("--rank, --energy and --base have no meaning beside --into.", {
    fix: "Leave them out: weights are added exactly, to the base that --into names.",
    exitCode: 2,
  });
}

async function mergeInto(
  adapters: readonly AdapterSource[],
  into: string,
  options: {
    readonly out: string;
    readonly dtype?: string;
    readonly overwrite?: boolean;
    readonly json?: boolean;
  },
  terminal: Terminal,
): Promise<number> {
  const base = await openBase(into);
  const report = await mergeIntoBase({
    adapters,
    base,
    out: options.out,
    dtype: parseDType(options.dtype),
    overwrite: options.overwrite,
    signal: terminal.signal,
    onProgress: showProgress(terminal, "merging weight"),
  });
  const { form, changedWeights, bytes, leftOut } = report;
  printReport(terminal, options.json, report, [
    `${options.out}: ${base.name} with ${countOf(changedWeights, "weight")} changed, a ${form} of ${formatBytes(bytes)}.`,
    ...(leftOut.length > 0 ? [`Not copied, as nothing was merged into them: ${leftOut.join(", ")}.`] : []),
  ]);
  return 0;
}
