/** Runs a small program of the system for what it prints, within a time limit. */
import { spawn } from "node:child_process";
import type { Outcome } from "./facts.ts";

export interface ToolOptions {
  readonly timeoutMs: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/** What is kept of an answer: no tool that is asked prints a tenth of it. */
const mostBytes = 4 * 2 ** 20;

/**
 * The program's standard output. A program that ends with an error has failed, with the last that it said.
 *
 * @example await runTool("nvidia-smi", ["--list-gpus"], { timeoutMs: 5000 });
 */
export function runTool(command: string, args: readonly string[], options: ToolOptions): Promise<Outcome<string>> {
  const { timeoutMs, env, signal } = options;
  return new Promise((resolve) => {
    const child = spawn(command, args, { env: env ?? process.env, stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let bytes = 0;
    const keep = (list: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= mostBytes) list.push(chunk);
    };
    const stop = (): boolean => child.kill("SIGKILL");
    const end = (outcome: Outcome<string>): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      stop();
      // A program that hangs in its driver does not even end then; nobody waits for it.
      child.unref();
      end({ status: "timed-out", afterMs: timeoutMs });
    }, timeoutMs);
    signal?.addEventListener("abort", stop, { once: true });
    child.stdout.on("data", keep(out));
    child.stderr.on("data", keep(err));
    child.on("error", (error: NodeJS.ErrnoException) => {
      end(error.code === "ENOENT" ? { status: "absent" } : { status: "failed", said: error.message });
    });
    child.on("close", (code) => {
      const text = Buffer.concat(out).toString("utf8");
      if (code === 0) end({ status: "ok", value: text });
      else end({ status: "failed", said: oneLine(Buffer.concat(err).toString("utf8").trim() || text) || `exit code ${code}` });
    });
  });
}

/** A message on one line, without what makes it hard to read, and not endless. */
export function oneLine(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 400 ? `${line.slice(0, 400)}…` : line;
}
