/** gesso lora inspect: what a LoRA file is, what it changes and how much, and where it loads. */
import { inspectAdapter } from "../index.ts";
import { defineCommand } from "./command.ts";
import { findAdapterBase } from "./find-adapter-base.ts";
import { describeAdapter } from "./lora-page.ts";

export const loraInspectCommand = defineCommand({
  name: "lora inspect",
  summary: "Say what a LoRA file holds, what it was trained with, and where it will load.",
  positionals: [
    { name: "file", about: "A LoRA file (.safetensors) of any trainer: LoRA, LoCon, LoHa, LoKr, DoRA.", required: true },
  ],
  options: {
    base: {
      kind: "text",
      value: "MODEL",
      about: "Base model: mini, a single file, or a folder in the diffusers layout. A DoRA is measured on it",
      default: "SD 1.5's and SDXL's layers are known",
    },
    json: { kind: "switch", about: "Print everything as JSON." },
  },
  examples: ["gesso lora inspect mystyle.safetensors", "gesso lora inspect mystyle.safetensors --json | jq .loads"],
  async run({ positionals: [file = ""], options }, terminal) {
    const base = await findAdapterBase(file, options.base);
    const report = await inspectAdapter(file, {
      base,
      onProgress: (done, total) => terminal.status(`layer ${done + 1} of ${total}`),
    });
    terminal.status("");
    terminal.out(options.json ? JSON.stringify(report, undefined, 2) : describeAdapter(report, terminal.columns));
    return report.broken.length > 0 || report.incomplete.length > 0 ? 1 : 0;
  },
});
