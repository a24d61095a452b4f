/** gesso lora: what can be done with adapter files that there are already. Each verb is a file of its own and a line here. */
import { findNearest, UserError } from "../errors.ts";
import type { Command } from "./command.ts";

/** Verbs load when they are asked for. */
const verbs: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Command> }>> = {
  inspect: {
    summary: "Say what a file holds, and where it will load.",
    load: async () => (await import("./lora-inspect.ts")).loraInspectCommand,
  },
  convert: {
    summary: "Write it in another program's naming.",
    load: async () => (await import("./lora-convert.ts")).loraConvertCommand,
  },
  merge: {
    summary: "Make one of several, or merge them into a base model.",
    load: async () => (await import("./lora-merge.ts")).loraMergeCommand,
  },
  resize: {
    summary: "Make it smaller: another rank, by SVD.",
    load: async () => (await import("./lora-resize.ts")).loraResizeCommand,
  },
  extract: {
    summary: "Make one of a tuned model and its base.",
    load: async () => (await import("./lora-extract.ts")).loraExtractCommand,
  },
};

const overview = (): string =>
  [
    "Works on LoRA files: Gesso's own and those of other trainers.",
    "",
    "Usage: gesso lora <verb> [options]",
    "",
    ...Object.entries(verbs).map(([name, { summary }]) => `  ${name.padEnd(8)}  ${summary}`),
    "",
    "gesso lora <verb> --help tells more.",
  ].join("\n");

export const loraCommand: Command = {
  name: "lora",
  summary: "Inspect, convert, merge, resize and extract LoRA files.",
  async execute([verb, ...rest], terminal) {
    if (verb === undefined || verb === "--help" || verb === "-h" || verb === "help") {
      terminal.out(overview());
      return 0;
    }
    const entry = verbs[verb];
    if (entry) return (await entry.load()).execute(rest, terminal);
    const names = Object.keys(verbs);
    const nearest = findNearest(verb, names);
    throw new UserError(`gesso lora has no verb "${verb}".`, {
      fix: nearest ? `Did you mean: gesso lora ${nearest}?` : `Verbs: ${names.join(", ")}.`,
      exitCode: 2,
    });
  },
};
