/** The engine's side of its thread: starts it, sends calls, and turns what goes wrong there into rejected promises here. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { errorOf, UserError } from "../../errors.ts";
import type { TensorData } from "../engine.ts";
import type { CallName, Calls, Reply, ThreadOptions } from "./messages.ts";

interface Pending {
  readonly resolve: (result: Calls[CallName]["gives"]) => void;
  readonly reject: (error: Error) => void;
}

export class ThreadClient {
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  readonly #pending = new Map<number, Pending>();
  #tickets = 0;
  /** Why no call can be made any more. */
  #end: Error | undefined;

  constructor(options: ThreadOptions) {
    const file = import.meta.url.endsWith(".ts") ? "./worker.source.mjs" : "./worker.js";
    // A run makes and drops a few hundred small objects: V8 would let them grow to tens of megabytes before it collects them.
    const resourceLimits = { maxYoungGenerationSizeMb: 4 };
    this.#worker = new Worker(new URL(file, import.meta.url), { name: "ort", workerData: options, resourceLimits });
    this.#exited = once(this.#worker, "exit").catch(() => undefined);
    this.#worker.on("message", (reply: Reply) => this.#settle(reply));
    this.#worker.on("error", (error: Error) => this.#fail(explainDeath(error)));
    this.#worker.on("exit", (code) => this.#fail(new Error(`ort: the engine's thread has ended (code ${code})`)));
    // A program that forgets to dispose of the engine can still end; calls under way keep it alive.
    this.#worker.unref();
  }

  /** @param transfer arrays to hand over rather than copy */
  call<K extends CallName>(
    call: K,
    args: Calls[K]["takes"],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Calls[K]["gives"]> {
    if (this.#end) return Promise.reject(this.#end);
    const ticket = this.#tickets++;
    return new Promise<Calls[CallName]["gives"]>((resolve, reject) => {
      this.#worker.postMessage({ call, ticket, args }, [...transfer]);
      this.#pending.set(ticket, { resolve, reject });
      this.#worker.ref();
    });
  }

  /** Ends the thread after the calls under way. A second time does nothing. */
  async close(): Promise<void> {
    if (this.#end) return;
    const closed = this.call("close", undefined);
    this.#end = new Error("ort: the engine was disposed of");
    await closed;
    this.#worker.ref();
    await this.#exited;
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.ticket);
    this.#pending.delete(reply.ticket);
    if (this.#pending.size === 0) this.#worker.unref();
    if ("failure" in reply) pending?.reject(errorOf(reply.failure));
    else pending?.resolve(reply.result);
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

/** Only whole arrays can change hands; a view of a larger one is copied. */
export function transferable(arrays: readonly TensorData[]): ArrayBuffer[] {
  const buffers = arrays.flatMap(({ buffer, byteLength }) =>
    buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [],
  );
  return [...new Set(buffers)];
}

function explainDeath(error: Error & { code?: string }): Error {
  if (error.code === "ERR_WORKER_OUT_OF_MEMORY") {
    return new UserError("The CPU engine ran out of memory.", {
      fix: "Close other programs, or train with a smaller resolution, batch or model.",
      cause: error,
    });
  }
  return new UserError(`The CPU engine's thread ended: ${error.message}`, {
    fix: "Run `npm install` again, so that onnxruntime-node has its library for this machine; `gesso doctor` says more.",
    cause: error,
  });
}
