/** What the command line says of itself. */
import { expect, test } from "vitest";
import { gesso } from "./command-line.ts";

const commands = ["inspect", "plan", "train", "sample", "doctor", "setup", "demo", "lora"];
const loraCommands = ["inspect", "convert", "merge", "resize", "extract"].map((name) => `lora ${name}`);

test.each(["", "--help", ...[...commands, ...loraCommands].map((name) => `${name} --help`)])(
  "gesso %s fits a terminal of 100 columns",
  async (args) => {
    const { exitCode, out } = await gesso(args.split(" ").filter((part) => part !== ""));
    expect(exitCode).toBe(0);
    expect(out.join("\n").length).toBeGreaterThan(100);
    for (const line of out.join("\n").split("\n")) expect(line.length, line).toBeLessThanOrEqual(100);
  },
);
