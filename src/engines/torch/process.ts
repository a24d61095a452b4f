/** The worker's process: starts it, sends calls, and turns what goes wrong there into rejected promises here. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { explainDeath, explainFailure, explainNoPython } from "./failures.ts";
import type { CallName, Calls, ReplyHeader, WireTensor } from "./messages.ts";
import { encodeFrame, type Frame, FrameReader } from "./protocol.ts";

interface Answer<K extends CallName> {
  readonly result: Calls[K]["gives"];
  readonly tensors: readonly WireTensor[];
}

interface Pending {
  readonly resolve: (answer: Answer<CallName>) => void;
  readonly reject: (error: Error) => void;
}

/** What is kept of the worker's error stream. */
const mostSaid = 8192;
/** How long a worker may take to end after it was asked to. */
const closeMs = 10_000;

export class WorkerProcess {
  readonly #python: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #exited: Promise<unknown>;
  readonly #pending = new Map<number, Pending>();
  #tickets = 0;
  #said = "";
  /** Why no call can be made any more. */
  #end: Error | undefined;

  constructor(python: string) {
    this.#python = python;
    const script = fileURLToPath(new URL("./worker/main.py", import.meta.url));
    // cuBLAS gives the same bytes every time only with a workspace of its own.
    const env = { CUBLAS_WORKSPACE_CONFIG: ":4096:8", PYTORCH_ENABLE_MPS_FALLBACK: "1", ...process.env };
    this.#child = spawn(python, ["-B", script], { stdio: ["pipe", "pipe", "pipe"], env, windowsHide: true });
    this.#exited = once(this.#child, "close").catch(() => undefined);
    this.#listen();
    this.#keepAlive(false);
  }

  /** Whether calls are of no use any more. */
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  call<K extends CallName>(call: K, args: Calls[K]["takes"], tensors: readonly WireTensor[] = []): Promise<Answer<K>> {
    if (this.#end) return Promise.reject(this.#end);
    const ticket = this.#tickets++;
    return new Promise<Answer<CallName>>((resolve, reject) => {
      this.#pending.set(ticket, { resolve, reject });
      this.#keepAlive(true);
      for (const piece of encodeFrame({ ticket, call, args }, tensors)) this.#child.stdin.write(piece);
    }) as Promise<Answer<K>>;
  }

  /** Ends the worker after the calls under way, by force if it does not follow. A second time does nothing. */
  async close(): Promise<void> {
    if (!this.#end) {
      const closed = this.call("close", null).catch(() => undefined);
      this.#end = new Error("torch: the engine was disposed of");
      await closed;
    }
    this.#keepAlive(true);
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), closeMs);
    await this.#exited;
    clearTimeout(timer);
  }

  #listen(): void {
    const reader = new FrameReader((frame) => this.#settle(frame));
    this.#child.stdout.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        this.#fail(error as Error);
        this.#child.kill("SIGKILL");
      }
    });
    this.#child.stderr.on("data", (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString("utf8")).slice(-mostSaid);
    });
    // A worker that has ended takes nothing any more; `close` tells of it.
    this.#child.stdin.on("error", () => undefined);
    this.#child.on("error", (error: NodeJS.ErrnoException) => this.#fail(explainNoPython(this.#python, error)));
    this.#child.on("close", (code, signal) => this.#fail(explainDeath(code, signal, this.#said)));
  }

  #settle({ header, tensors }: Frame): void {
    const reply = header as unknown as ReplyHeader;
    const pending = this.#pending.get(reply.ticket);
    this.#pending.delete(reply.ticket);
    if (this.#pending.size === 0) this.#keepAlive(false);
    if (!("failure" in reply)) {
      pending?.resolve({ result: reply.result as Calls[CallName]["gives"], tensors });
      return;
    }
    const error = explainFailure(reply.failure, this.#python);
    pending?.reject(error);
    // Nothing on the device can be trusted any more.
    if (reply.failure.kind === "device") {
      this.#fail(error);
      this.#child.kill("SIGKILL");
    }
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
    this.#keepAlive(false);
  }

  /** A program that forgets to dispose of the engine can still end; calls under way keep it alive. */
  #keepAlive(isNeeded: boolean): void {
    const { stdin, stdout, stderr } = this.#child;
    for (const handle of [this.#child, stdin as Socket, stdout as unknown as Socket, stderr as unknown as Socket]) {
      if (isNeeded) handle.ref();
      else handle.unref();
    }
  }
}
