/** gesso lora extract: what a tuned model has that its base has not, as an adapter. */
import { formatBytes } from "../bytes.ts";
import { UserError } from "../errors.ts";
import { extractAdapter, type ExtractPart, extractParts, openBase, type TargetSet, targetSets } from "../index.ts";
import { countOf } from "../words.ts";
import { defineCommand } from "./command.ts";
import {
  describeLoadingOf,
  describeParts,
  outputOptions,
  parseDType,
  prepareOutput,
  printReport,
  requireChoice,
  showProgress,
  wrongUse,
} from "./lora-output.ts";

export const loraExtractCommand = defineCommand({
  name: "lora extract",
  summary: "Make a LoRA from a tuned model and the base that it was tuned from: their difference, layer by layer (SVD).",
  positionals: [{ name: "TUNED", about: "the tuned model: a .safetensors file or a diffusers folder", required: true }],
  options: {
    from: { kind: "text", value: "BASE", about: "The model that it was tuned from. Required." },
    rank: outputOptions.rank,
    energy: outputOptions.energy,
    out: outputOptions.out,
    parts: { kind: "text", value: "LIST", about: `Networks to compare: ${extractParts.join(",")}.`, default: "all" },
    targets: {
      kind: "text",
      value: "SET",
      about: "Layers to compare; those of locon load in every program",
      choices: targetSets,
      default: "locon",
    },
    dtype: { ...outputOptions.dtype, default: "float16" },
    overwrite: outputOptions.overwrite,
    json: outputOptions.json,
  },
  examples: ["gesso lora extract tuned.safetensors --from sdxl.safetensors --parts unet --out lora.safetensors"],
  async run({ positionals: [tunedPath = ""], options }, terminal) {
    const { from, out, rank, energy } = options;
    if (from === undefined) throw wrongUse("extract", "--from", "know what it was tuned from");
    if (out === undefined) throw wrongUse("extract", "--out", "know where the result goes");
    const choice = requireChoice("extract", rank, energy);
    const parts = options.parts === undefined ? undefined : parseParts(options.parts);
    await prepareOutput(out, [tunedPath, from], options.overwrite ?? false);
    terminal.status("opening both models");
    const report = await extractAdapter({
      tuned: await openBase(tunedPath),
      base: await openBase(from),
      out,
      choice,
      parts,
      targets: parseTargets(options.targets),
      dtype: parseDType(options.dtype) ?? "float16",
      signal: terminal.signal,
      onProgress: showProgress(terminal, "comparing layer"),
    });
    const { layers, comparedLayers, dtype, bytes, notes } = report;
    printReport(terminal, options.json, report, [
      `${out}: ${layers} of ${countOf(comparedLayers, "layer")} differ, ${dtype}, ${formatBytes(bytes)}.`,
      ...describeParts(report.parts),
      ...(await describeLoadingOf(out)),
      ...notes,
    ]);
    return 0;
  },
});

function parseTargets(text: string | undefined): TargetSet {
  return targetSets.find((name) => name === text) ?? "locon";
}

/** @throws UserError for a network that there is not */
function parseParts(text: string): readonly ExtractPart[] {
  return text.split(",").map((name) => {
    const part = extractParts.find((known) => known === name.trim());
    if (part) return part;
    throw new UserError(`--parts ${text}: there is no network "${name.trim()}".`, {
      fix: `It can hold: ${extractParts.join(", ")}.`,
      exitCode: 2,
    });
  });
}
