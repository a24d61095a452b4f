/** gesso lora resize: an adapter of another rank. */
import { formatBytes } from "../bytes.ts";
import { openBase, resizeAdapter } from "../index.ts";
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

export const loraResizeCommand = defineCommand({
  name: "lora resize",
  summary:
    "Make a LoRA smaller: the best approximation of each layer (SVD) of a lower rank. LoHa, LoKr and DoRA become plain LoRAs.",
  positionals: [{ name: "FILE", about: "the LoRA", required: true }],
  options: {
    rank: outputOptions.rank,
    energy: outputOptions.energy,
    out: outputOptions.out,
    dtype: { ...outputOptions.dtype, default: "the file's own" },
    base: {
      kind: "text",
      value: "MODEL",
      about: "The base model, where it cannot be told from the file or a DoRA needs its weights.",
    },
    overwrite: outputOptions.overwrite,
    json: outputOptions.json,
  },
  examples: [
    "gesso lora resize big.safetensors --rank 16 --out small.safetensors",
    "gesso lora resize big.safetensors --energy 0.99 --out small.safetensors",
  ],
  async run({ positionals: [path = ""], options }, terminal) {
    const { out, rank, energy } = options;
    if (out === undefined) throw wrongUse("resize", "--out", "know where the result goes");
    const choice = requireChoice("resize", rank, energy);
    await prepareOutput(out, [path], options.overwrite ?? false);
    const report = await resizeAdapter(path, {
      out,
      choice,
      dtype: parseDType(options.dtype),
      base: options.base === undefined ? undefined : await openBase(options.base),
      signal: terminal.signal,
      onProgress: showProgress(terminal, "resizing layer"),
    });
    printReport(terminal, options.json, report, [
      `${out}: ${countOf(report.layers, "layer")}, ${report.dtype}, ${formatBytes(report.bytes)} (was ${formatBytes(report.sourceBytes)}).`,
      ...describeParts(report.parts),
      ...(await describeLoadingOf(out)),
    ]);
    return 0;
  },
});
