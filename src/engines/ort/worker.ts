/**
 * The thread that owns the buffers and the sessions: ONNX Runtime blocks the thread it runs on, and the terminal and Ctrl-C must stay alive.
 */
import { parentPort, workerData } from "node:worker_threads";
import { failureOf } from "../../errors.ts";
import type { TensorData } from "../engine.ts";
import type { CallName, Calls, Reply, Request, ThreadOptions } from "./messages.ts";
import { Runtime } from "./runtime.ts";

if (!parentPort) throw new Error("ort: worker.ts runs in a thread of its own");
const port = parentPort;
const runtime = new Runtime((workerData as ThreadOptions).threads);

const answers: { readonly [K in CallName]: (args: Calls[K]["takes"]) => Calls[K]["gives"] | Promise<Calls[K]["gives"]> } = {
  allocate: ({ spec, source }) => runtime.allocate(spec, source),
  write: ({ name, data }) => runtime.write(name, data),
  read: ({ name }) => runtime.read(name),
  free: ({ name }) => runtime.free(name),
  compile: (args) => runtime.compile(args),
  addSize: (args) => runtime.addSize(args),
  run: (args) => runtime.run(args),
  release: ({ id }) => runtime.release(id),
  memory: () => runtime.memory(),
  close: () => runtime.close(),
};

/** The arrays to hand over rather than copy. */
function arraysOf(result: Reply extends infer R ? (R extends { result: infer T } ? T : never) : never): ArrayBuffer[] {
  const isArray = (value: unknown): value is TensorData => ArrayBuffer.isView(value);
  const arrays = isArray(result) ? [result] : Object.values((result ?? {}) as Record<string, unknown>).filter(isArray);
  return [...new Set(arrays.map((array) => array.buffer as ArrayBuffer))];
}

async function answer({ call, ticket, args }: Request): Promise<void> {
  try {
    const result = await (answers[call] as (args: unknown) => Calls[CallName]["gives"] | Promise<Calls[CallName]["gives"]>)(
      args,
    );
    port.postMessage({ ticket, result } satisfies Reply, arraysOf(result));
  } catch (error) {
    port.postMessage({ ticket, failure: failureOf(error) } satisfies Reply);
  }
  if (call === "close") port.close();
}

// One call at a time, in the order of arrival: a write must not overtake a run.
let last: Promise<void> = Promise.resolve();
port.on("message", (request: Request) => {
  last = last.then(() => answer(request));
});
