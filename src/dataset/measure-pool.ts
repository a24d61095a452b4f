/** Threads that measure pictures, so that decoding, measuring and writing down go on side by side. */
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { UserError } from "../errors.ts";
import type { MeasuredFile } from "./measure/picture.ts";
import type { Answer, Order } from "./measure/thread.ts";

export interface MeasurePool {
  /** Pictures that should be under way at once. */
  readonly width: number;
  /** Why nothing more can be measured; undefined while all is well. */
  readonly failure: UserError | undefined;
  /**
   * Reads a file and measures it.
   *
   * @param recall gives what is known of a content, by its SHA-256: then nothing is decoded
   * @throws UserError for a file that cannot be read, or `failure`
   */
  measure(path: string, recall: Recall): Promise<Recalled & MeasuredFile>;
  close(): Promise<void>;
}

export type Recall = (fileHash: string) => Promise<MeasuredFile | undefined>;

export interface Recalled {
  /** Whether it was known, and not measured. */
  readonly isRecalled: boolean;
}

/** Decodings that Node has threads for. */
const DECODERS = 4;

/** A thread measures about as fast as two processors decode, and more than three would wait for the decoders. */
const threadsFor = (processors: number): number => Math.min(3, Math.ceil(processors / 2));

interface Job {
  readonly path: string;
  readonly recall: Recall;
  fileHash: string;
  readonly resolve: (measured: Recalled & MeasuredFile) => void;
  readonly reject: (error: Error) => void;
}

/** Starts no thread before the first file. @param threads by default by the number of processors */
export function openMeasurePool(threads = threadsFor(availableParallelism())): MeasurePool {
  const members: { readonly worker: Worker; readonly jobs: Map<number, Job> }[] = [];
  let nextId = 0;
  let failure: UserError | undefined;
  const start = () => {
    const worker = startThread();
    const member = { worker, jobs: new Map<number, Job>() };
    const end = (reason: string): void => {
      failure ??= endedEarly(reason, [...member.jobs.values()]);
      for (const { reject } of member.jobs.values()) reject(failure);
      member.jobs.clear();
    };
    worker.on("message", (message: Answer) => {
      const job = member.jobs.get(message.id);
      if (job) void handle(message, job, member).catch(job.reject);
    });
    worker.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    worker.on("exit", (code) => end(`exit code ${code}`));
    members.push(member);
    return member;
  };
  return {
    width: DECODERS + threads,
    get failure() {
      return failure;
    },
    measure(path, recall) {
      if (failure) return Promise.reject(failure);
      const free = members.find(({ jobs }) => jobs.size === 0);
      const member =
        free ?? (members.length < threads ? start() : members.reduce((a, b) => (b.jobs.size < a.jobs.size ? b : a)));
      return new Promise((resolve, reject) => {
        const id = nextId++;
        member.jobs.set(id, { path, recall, fileHash: "", resolve, reject });
        send(member.worker, { type: "read", id, path });
      });
    },
    async close() {
      failure ??= new UserError("Measuring has been ended.");
      await Promise.all(members.map(({ worker }) => worker.terminate()));
    },
  };
}

function send(worker: Worker, order: Order): void {
  worker.postMessage(order);
}

async function handle(
  message: Answer,
  job: Job,
  { worker, jobs }: { readonly worker: Worker; readonly jobs: Map<number, Job> },
): Promise<void> {
  const { id } = message;
  if (message.type === "read") {
    job.fileHash = message.fileHash;
    const known = await job.recall(message.fileHash);
    send(worker, { type: known ? "forget" : "measure", id });
    if (!known) return;
    job.resolve({ ...known, isRecalled: true });
  } else if (message.type === "measured") {
    job.resolve({ fileHash: job.fileHash, ...message.measured, isRecalled: false });
  } else {
    const { isUserError, message: text, fix } = message;
    job.reject(isUserError ? new UserError(text, fix === undefined ? {} : { fix }) : new Error(text));
  }
  jobs.delete(id);
}

function startThread(): Worker {
  if (!import.meta.url.endsWith(".ts")) return new Worker(new URL("./measure/thread.js", import.meta.url));
  // From the sources, as in tests, a thread needs a loader of its own.
  const loader = new URL("index.mjs", pathToFileURL(createRequire(import.meta.url).resolve("tsx/esm/api")));
  const file = new URL("./measure/thread.ts", import.meta.url);
  const code = `import { register } from "${loader.href}"; register(); await import("${file.href}");`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), { execArgv: [] });
}

function endedEarly(reason: string, jobs: readonly Job[]): UserError {
  const names = jobs.map(({ path }) => basename(path)).join(", ");
  const among = names === "" ? "" : ` while it had ${names} to look at`;
  return new UserError(`A thread that measures pictures came to an end (${reason})${among}.`, {
    fix: "Run the command again: what was measured is kept. If it ends at the same pictures, take them out one by one.",
  });
}
