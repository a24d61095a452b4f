#!/usr/bin/env node
/** The command line's entry: connects the process to `runCli`. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import type { Terminal } from "./command.ts";
import { runCli } from "./run.ts";

const interrupt = new AbortController();
let interruptedAtMs: number | undefined;
// The first Ctrl-C asks the run to save itself; a second one ends the process at once. Programs that start this one (npm, tsx) may
// pass on what the terminal sent already, so the second must come a while after the first.
process.on("SIGINT", () => {
  interruptedAtMs ??= performance.now();
  interrupt.abort();
  if (performance.now() - interruptedAtMs > 1000) process.exit(130);
});
process.once("SIGTERM", () => interrupt.abort());

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };

// "gesso train ... | head" closes the pipe early: the run goes on without it.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

const isInteractive = process.stdout.isTTY && process.env.TERM !== "dumb";
let hasStatus = false;
/** Takes the status line away, so that what follows begins on a clean line. */
function clearStatus(): void {
  if (hasStatus) process.stdout.write("\r\u001b[2K");
  hasStatus = false;
}

/** One line from the keyboard; Ctrl-C and Ctrl-D end the question without an answer. */
async function ask(question: string): Promise<string | undefined> {
  clearStatus();
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  const closed = new Promise<undefined>((resolve) => reader.once("close", () => resolve(undefined)));
  reader.once("SIGINT", () => {
    interrupt.abort();
    reader.close();
  });
  try {
    return await Promise.race([reader.question(question), closed]);
  } finally {
    reader.close();
  }
}

const terminal: Terminal = {
  out(text) {
    clearStatus();
    process.stdout.write(`${text}\n`);
  },
  err(text) {
    clearStatus();
    process.stderr.write(`${text}\n`);
  },
  status(line) {
    if (!isInteractive) return;
    clearStatus();
    process.stdout.write(line);
    hasStatus = line !== "";
  },
  isInteractive,
  ask: isInteractive && process.stdin.isTTY ? ask : undefined,
  // Read anew each time: windows are resized.
  get columns() {
    return process.stdout.columns || 100;
  },
  signal: interrupt.signal,
};

process.exitCode = await runCli(process.argv.slice(2), terminal, version);
