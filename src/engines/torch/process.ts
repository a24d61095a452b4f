/** The worker's process: sends calls, and turns what goes wrong there into rejected promises here. */
import { explainFailure } from "./failures.ts";
import { type LaunchOptions, WorkerGroup } from "./launch.ts";
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

/** How long a worker may take to end after it was asked to. */
const closeMs = 10_000;

export class WorkerProcess {
  readonly #python: string;
  readonly #group: WorkerGroup;
  readonly #pending = new Map<number, Pending>();
  #tickets = 0;
  /** Why no call can be made any more. */
  #end: Error | undefined;

  constructor(options: LaunchOptions) {
    this.#python = options.python;
    this.#group = new WorkerGroup(options);
    const reader = new FrameReader((frame) => this.#settle(frame));
    this.#group.first.stdout.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        this.#fail(error as Error);
        this.#group.kill();
      }
    });
    void this.#group.ended.then((error) => this.#fail(error));
    this.#group.keepAlive(false);
  }

  /** Whether calls are of no use any more. */
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** @param toAll whether all workers are to do it, not only the first */
  call<K extends CallName>(
    call: K,
    args: Calls[K]["takes"],
    tensors: readonly WireTensor[] = [],
    toAll = false,
  ): Promise<Answer<K>> {
    if (this.#end) return Promise.reject(this.#end);
    const ticket = this.#tickets++;
    return new Promise<Answer<CallName>>((resolve, reject) => {
      this.#pending.set(ticket, { resolve, reject });
      this.#group.keepAlive(true);
      for (const piece of encodeFrame({ ticket, call, args, toAll }, tensors)) this.#group.first.stdin.write(piece);
    }) as Promise<Answer<K>>;
  }

  /** Ends the workers after the calls under way, by force if they do not follow. A second time does nothing. */
  async close(): Promise<void> {
    if (!this.#end) {
      const closed = this.call("close", null, [], true).catch(() => undefined);
      this.#end = new Error("torch: the engine was disposed of");
      await closed;
    }
    this.#group.keepAlive(true);
    this.#group.endInput();
    const timer = setTimeout(() => this.#group.kill(), closeMs);
    await this.#group.ended;
    clearTimeout(timer);
  }

  #settle({ header, tensors }: Frame): void {
    const reply = header as unknown as ReplyHeader;
    const pending = this.#pending.get(reply.ticket);
    this.#pending.delete(reply.ticket);
    if (this.#pending.size === 0) this.#group.keepAlive(false);
    if (!("failure" in reply)) {
      pending?.resolve({ result: reply.result as Calls[CallName]["gives"], tensors });
      return;
    }
    const error = explainFailure(reply.failure, this.#python);
    pending?.reject(error);
    // Nothing on the device can be trusted any more.
    if (reply.failure.kind === "device") {
      this.#fail(error);
      this.#group.kill();
    }
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
    this.#group.keepAlive(false);
  }
}
