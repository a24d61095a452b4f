/** gesso lora convert: an adapter file in another program's naming. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "../errors.ts";
import { adapterDTypes, adapterStyles, convertAdapter } from "../index.ts";
import { countOf } from "../words.ts";
import { defineCommand } from "./command.ts";
import { findAdapterBase } from "./find-adapter-base.ts";
import { describeLoading } from "./lora-output.ts";

export const loraConvertCommand = defineCommand({
  name: "lora convert",
  summary: "Write a LoRA file in another program's naming; what it does to the model stays the same.",
  positionals: [{ name: "file", about: "A LoRA file (.safetensors), of any naming.", required: true }],
  options: {
    to: {
      kind: "text",
      value: "NAMING",
      about: "kohya is what A1111, Forge, ComfyUI and Invoke read; peft is diffusers' own. Required",
      choices: adapterStyles,
    },
    out: { kind: "text", value: "FILE", about: "Where the new file goes. Required." },
    dtype: {
      kind: "text",
      value: "TYPE",
      about: "Type of its numbers",
      default: "as they are",
      choices: adapterDTypes,
    },
    base: { kind: "text", value: "MODEL", about: "Base model, where it is neither SD 1.5 nor SDXL." },
    json: { kind: "switch", about: "Print the result as JSON." },
  },
  examples: [
    "gesso lora convert pytorch_lora_weights.safetensors --to kohya --out mystyle.safetensors",
    "gesso lora convert mystyle.safetensors --to peft --dtype float16 --out mystyle-peft.safetensors",
  ],
  async run({ positionals: [file = ""], options }, terminal) {
    const { out } = options;
    const to = adapterStyles.find((style) => style === options.to);
    const lacks = to === undefined ? "--to kohya or --to peft" : "--out with the name of the new file";
    if (to === undefined || out === undefined)
      throw new UserError(`gesso lora convert needs ${lacks}.`, {
        fix: "gesso lora convert --help shows an example.",
        exitCode: 2,
      });
    if (!/\.safetensors$/i.test(out))
      throw new UserError(`--out ${out} does not end in .safetensors.`, { fix: `Give --out ${out}.safetensors.`, exitCode: 2 });
    await mkdir(dirname(out), { recursive: true });
    const report = await convertAdapter(file, out, {
      to,
      dtype: adapterDTypes.find((dtype) => dtype === options.dtype),
      base: await findAdapterBase(file, options.base),
    });
    if (options.json) {
      terminal.out(JSON.stringify({ out, ...report }, undefined, 2));
      return 0;
    }
    terminal.out(`${out}: ${countOf(report.modules, "layer")} in ${to === "peft" ? "PEFT's" : "Kohya's"} naming.`);
    for (const line of describeLoading(report.loads, out)) terminal.out(line);
    return 0;
  },
});
