/**
 * Processes that measure pictures, so that decoding, measuring and writing down go on side by side. Processes and not threads: what decoding
 * leaves behind in memory goes with them, and a training that follows in this process begins as if nothing had been inspected.
 */
import type { ChildProcess } from "node:child_process";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { errorOf, UserError } from "../errors.ts";
import { endProcess, startModule } from "../processes.ts";
import type { MeasuredFile } from "./measure/picture.ts";
import type { Answer, Order } from "./measure/process.ts";

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

/** One measures about as fast as two processors decode. */
const processesFor = (processors: number): number => Math.min(3, Math.ceil(processors / 2));

interface Member {
  readonly child: ChildProcess;
  readonly jobs: Map<number, Job>;
}

interface Job {
  readonly path: string;
  readonly recall: Recall;
  fileHash: string;
  readonly resolve: (measured: Recalled & MeasuredFile) => void;
  readonly reject: (error: Error) => void;
}

/** Starts no process before the first file. @param processes by default by the number of processors */
export function openMeasurePool(processes = processesFor(availableParallelism())): MeasurePool {
  const members: Member[] = [];
  let nextId = 0;
  let failure: UserError | undefined;
  const start = () => {
    const child = startModule(new URL("./measure/process.js", import.meta.url));
    const member: Member = { child, jobs: new Map() };
    const end = (reason: string): void => {
      failure ??= endedEarly(reason, [...member.jobs.values()]);
      for (const { reject } of member.jobs.values()) reject(failure);
      member.jobs.clear();
    };
    child.on("message", (message: Answer) => {
      const job = member.jobs.get(message.id);
      if (job) void handle(message, job, member).catch(job.reject);
    });
    child.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    child.on("exit", (code, signal) => end(signal ?? `exit code ${code}`));
    members.push(member);
    return member;
  };
  return {
    width: DECODERS + processes,
    get failure() {
      return failure;
    },
    measure(path, recall) {
      if (failure) return Promise.reject(failure);
      const free = members.find(({ jobs }) => jobs.size === 0);
      const member =
        free ?? (members.length < processes ? start() : members.reduce((a, b) => (b.jobs.size < a.jobs.size ? b : a)));
      return new Promise((resolve, reject) => {
        const id = nextId++;
        member.jobs.set(id, { path, recall, fileHash: "", resolve, reject });
        send(member.child, { type: "read", id, path });
      });
    },
    async close() {
      failure ??= new UserError("Measuring has been ended.");
      await Promise.all(members.map(({ child }) => endProcess(child)));
    },
  };
}

function send(child: ChildProcess, order: Order): void {
  // One that has ended says so by itself.
  child.send(order, () => undefined);
}

async function handle(message: Answer, job: Job, { child, jobs }: Member): Promise<void> {
  const { id } = message;
  if (message.type === "read") {
    job.fileHash = message.fileHash;
    const known = await job.recall(message.fileHash);
    send(child, { type: known ? "forget" : "measure", id });
    if (!known) return;
    job.resolve({ ...known, isRecalled: true });
  } else if (message.type === "measured") {
    job.resolve({ fileHash: job.fileHash, ...message.measured, isRecalled: false });
  } else {
    job.reject(errorOf(message.failure));
  }
  jobs.delete(id);
}

function endedEarly(reason: string, jobs: readonly Job[]): UserError {
  const names = jobs.map(({ path }) => basename(path)).join(", ");
  const among = names === "" ? "" : ` while it had ${names} to look at`;
  return new UserError(`A process that measures pictures came to an end (${reason})${among}.`, {
    fix: "Run the command again: what was measured is kept. If it ends at the same pictures, take them out one by one.",
  });
}
