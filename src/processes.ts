/** Processes of our own, each of which runs one of our modules: what they took of memory goes with them. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { errorOf, type Failure, failureOf } from "./errors.ts";

/** @param module its place as JavaScript; run from the sources, the TypeScript beside it is taken */
export function startModule(module: URL): ChildProcess {
  const isSource = import.meta.url.endsWith(".ts");
  return fork(isSource ? new URL(module.href.replace(/\.js$/, ".ts")) : module, {
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // From the sources, as in tests, a process needs a loader of its own.
    execArgv: isSource ? ["--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href] : [],
  });
}

/** Ends a process at once: what it is doing is no longer wanted. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

/** Called in such a process: it stays until its parent ends it, or ends. */
export function followParent(): void {
  // A terminal's Ctrl-C goes to every process in front of it; the parent decides what is still to be finished.
  process.on("SIGINT", () => undefined);
  process.on("disconnect", () => process.exit());
}

type Answer<T> = { readonly result: T } | { readonly failure: Failure };

/**
 * Does one piece of work in a process of its own.
 *
 * @param module it calls `answerParent`
 * @param input plain data and typed arrays
 * @throws what the work threw, or Error when the process ends before it has answered
 */
export async function askModule<Input, Output>(module: URL, input: Input): Promise<Output> {
  const child = startModule(module);
  try {
    const answer = await new Promise<Answer<Output>>((resolve, reject) => {
      child.once("message", resolve);
      child.once("error", reject);
      child.once("exit", (code, signal) => {
        reject(new Error(`processes: ${module.pathname} ended before it answered (${signal ?? `exit code ${code}`})`));
      });
      child.send({ input }, (error) => (error ? reject(error) : undefined));
    });
    if ("failure" in answer) throw errorOf(answer.failure);
    return answer.result;
  } finally {
    await endProcess(child);
  }
}

/** Called in the module of `askModule`: does the work when its input comes. */
export function answerParent<Input, Output>(work: (input: Input) => Promise<Output>): void {
  followParent();
  process.once("message", ({ input }: { readonly input: Input }) => {
    const answers: Promise<Answer<Output>> = work(input).then(
      (result) => ({ result }),
      (error: unknown) => ({ failure: failureOf(error) }),
    );
    void answers.then((answer) => process.send?.(answer));
  });
}
