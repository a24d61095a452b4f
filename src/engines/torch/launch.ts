/** Starts the worker, or several that compute together, and finds out why they ended. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { explainEnd, explainNoPython, type WorkerEnd } from "./failures.ts";

export interface LaunchOptions {
  readonly python: string;
  /** How many; on one machine, unless `torchrun` says otherwise. */
  readonly workers: number;
  /** Arguments for torchrun, which starts the workers then, those of other machines in touch with another torchrun there. */
  readonly torchrun?: string | undefined;
}

/** What is kept of a worker's error stream. */
const mostSaid = 8192;
/** How long workers may take to end by themselves when one of them has ended. */
const graceMs = 2000;

export const workerScript = fileURLToPath(new URL("./worker/main.py", import.meta.url));

interface Started {
  readonly child: ChildProcess;
  said: string;
}

/** The processes of an engine. Only the first is spoken to; it passes on what the others are to do. */
export class WorkerGroup {
  readonly first: ChildProcessWithoutNullStreams;
  /** Why they ended, when all have: an error even if they were asked to. */
  readonly ended: Promise<Error>;
  readonly #all: readonly Started[];
  readonly #python: string;
  readonly #rendezvous: string | undefined;
  /** Those that ended before any was killed from here, and how. */
  readonly #ends: WorkerEnd[] = [];
  #isKilled = false;

  constructor({ python, workers, torchrun }: LaunchOptions) {
    this.#python = python;
    const isOwn = workers > 1 && torchrun === undefined;
    this.#rendezvous = isOwn ? mkdtempSync(join(tmpdir(), "gesso-workers-")) : undefined;
    const count = torchrun === undefined ? workers : 1;
    const args =
      torchrun === undefined ? [] : ["-m", "torch.distributed.run", ...torchrun.split(/\s+/).filter((arg) => arg !== "")];
    this.#all = Array.from({ length: count }, (_, rank) => ({
      child: this.#spawn(
        [...args, ...(torchrun === undefined ? ["-B"] : []), workerScript],
        isOwn ? [rank, workers] : undefined,
      ),
      said: "",
    }));
    this.first = this.#all[0]?.child as ChildProcessWithoutNullStreams;
    this.ended = this.#watch();
  }

  /** Lets every worker end: the first one's input is what keeps them. */
  endInput(): void {
    for (const { child } of this.#all) child.stdin?.end();
  }

  kill(): void {
    this.#isKilled = true;
    for (const { child } of this.#all) child.kill("SIGKILL");
  }

  /** Whether this program waits for the workers before it ends. */
  keepAlive(isNeeded: boolean): void {
    for (const { child } of this.#all) {
      for (const handle of [
        child,
        child.stdin as Socket | null,
        child.stdout as Socket | null,
        child.stderr as Socket | null,
      ]) {
        if (isNeeded) handle?.ref();
        else handle?.unref();
      }
    }
  }

  /** @param place rank and number of the workers that are started from here; torchrun and one worker by itself need none */
  #spawn(args: readonly string[], place: readonly [rank: number, workers: number] | undefined): ChildProcess {
    const env = { ...process.env, ...fixedEnvironment, ...(place ? placeEnvironment(place, this.#rendezvous ?? "") : {}) };
    // A group of its own: Ctrl-C in a terminal is Gesso's to handle, and torchrun would end its workers.
    const child = spawn(this.#python, args, { stdio: ["pipe", "pipe", "pipe"], env, windowsHide: true, detached: true });
    // A worker that has ended takes nothing any more; `ended` tells of it.
    child.stdin.on("error", () => undefined);
    return child;
  }

  async #watch(): Promise<Error> {
    let failed: Error | undefined;
    const closed = this.#all.map((started, rank) => {
      const { child } = started;
      child.stderr?.on("data", (chunk: Buffer) => (started.said = (started.said + chunk.toString("utf8")).slice(-mostSaid)));
      if (rank > 0) child.stdout?.resume();
      return new Promise<void>((resolve) => {
        child.on("error", (error: NodeJS.ErrnoException) => {
          failed ??= explainNoPython(this.#python, error);
          // A process that was never there does not close.
          resolve();
        });
        child.on("exit", () => {
          this.endInput();
          setTimeout(() => this.kill(), graceMs).unref();
        });
        child.on("close", (code, signal) => {
          if (!this.#isKilled || signal === null) this.#ends.push({ rank, code, signal, said: started.said });
          resolve();
        });
      });
    });
    await Promise.all(closed);
    if (this.#rendezvous !== undefined) rmSync(this.#rendezvous, { recursive: true, force: true });
    const said = this.#all.map((started) => started.said);
    return failed ?? explainEnd(this.#ends, said, this.#all.length, this.#python);
  }
}

const fixedEnvironment = {
  PYTORCH_ENABLE_MPS_FALLBACK: "1",
  // What the environment says of another program's workers is none of ours.
  ...{ RANK: "0", WORLD_SIZE: "1", LOCAL_RANK: "0" },
};

/** The variables of torchrun, with a file in the place of an address: nobody else can join, and no port can be taken. */
function placeEnvironment([rank, workers]: readonly [number, number], folder: string): Record<string, string> {
  const loopback = { linux: "lo", darwin: "lo0" }[process.platform as "linux" | "darwin"];
  return {
    ...{ RANK: String(rank), LOCAL_RANK: String(rank), WORLD_SIZE: String(workers) },
    GESSO_RENDEZVOUS: pathToFileURL(join(folder, "store")).href,
    ...(loopback === undefined ? {} : { GLOO_SOCKET_IFNAME: process.env.GLOO_SOCKET_IFNAME ?? loopback }),
  };
}
