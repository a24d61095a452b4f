/** Finds the command, runs it, and turns errors into messages and exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted. */
import { findNearest, UserError } from "../errors.ts";
import type { Command, Terminal } from "./command.ts";
import { welcome } from "./welcome.ts";

/** Commands load when they are asked for: `gesso --help` must not load an engine. */
const commands: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Command> }>> = {
  inspect: {
    summary: "Say what in a dataset would make training fail, and mend it.",
    load: async () => (await import("./inspect.ts")).inspectCommand,
  },
  plan: {
    summary: "Say what train would do, why, and what it would take and cost.",
    load: async () => (await import("./plan.ts")).planCommand,
  },
  train: { summary: "Train a LoRA on a folder of pictures.", load: async () => (await import("./train.ts")).trainCommand },
  sample: {
    summary: "Draw pictures, or a sheet that compares them.",
    load: async () => (await import("./sample.ts")).sampleCommand,
  },
  lora: {
    summary: "Inspect, convert, merge, resize and extract LoRA files.",
    load: async () => (await import("./lora.ts")).loraCommand,
  },
  doctor: {
    summary: "Say what this machine can do, and what is in the way.",
    load: async () => (await import("./doctor.ts")).doctorCommand,
  },
  setup: {
    summary: "Install PyTorch for the graphics card, apart from everything else.",
    load: async () => (await import("./setup.ts")).setupCommand,
  },
  demo: {
    summary: "Train on a bundled example and show before and after.",
    load: async () => (await import("./demo.ts")).demoCommand,
  },
};

const overview = (): string =>
  [
    "Gesso trains LoRAs: small files that teach an image model one character, one style or one object.",
    "",
    "Usage: gesso <command> [options]",
    "",
    ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(8)}  ${summary}`),
    "",
    "gesso <command> --help tells more.  New here? Try: gesso demo",
  ].join("\n");

/** Runs one command line. Never throws. */
export async function runCli(args: readonly string[], terminal: Terminal, version: string): Promise<number> {
  try {
    const [name, ...rest] = args;
    if (name === undefined) {
      terminal.out(welcome(terminal.columns));
      return 0;
    }
    if (name === "--help" || name === "-h" || name === "help") {
      terminal.out(overview());
      return 0;
    }
    if (name === "--version" || name === "-v") {
      terminal.out(version);
      return 0;
    }
    const entry = commands[name];
    if (!entry) throw unknownCommand(name);
    const command = await entry.load();
    return await command.execute(rest, terminal);
  } catch (error) {
    return report(error, terminal);
  }
}

function unknownCommand(name: string): UserError {
  const nearest = findNearest(name, Object.keys(commands));
  const fix = nearest ? `Did you mean: gesso ${nearest}?` : `The commands are ${Object.keys(commands).join(", ")}.`;
  return new UserError(`There is no command "${name}".`, { fix, exitCode: 2 });
}

function report(error: unknown, terminal: Terminal): number {
  if (error instanceof UserError) {
    terminal.err(error.fix ? `${error.message}\nFix: ${error.fix}` : error.message);
    return error.exitCode;
  }
  if (terminal.signal.aborted) return 130;
  terminal.err(`This is a bug in Gesso: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return 1;
}
