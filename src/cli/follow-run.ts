/** Shows a run from its first event to its last, and says what came of it. */
import { formatBytes } from "../bytes.ts";
import { dirname } from "node:path";
import { readPlan, type TrainEvent } from "../index.ts";
import { repeatBaseOptions } from "./base-options.ts";
import type { Terminal } from "./command.ts";
import { formatDuration, labelled, quotePath } from "./format.ts";
import { createProgressView } from "./progress-view.ts";

type EventOf<T extends TrainEvent["type"]> = Extract<TrainEvent, { type: T }>;

export interface FollowOptions {
  /** Events as JSON lines instead of words. */
  readonly isJson?: boolean;
  /** Warnings that were shown before. */
  readonly told?: ReadonlySet<string>;
  /** Called at the end of a run that is done, instead of saying what came of it. */
  readonly onDone?: (done: RunDone) => Promise<void>;
}

/** What there is to say of a run that is done. */
export interface RunDone {
  readonly event: EventOf<"done">;
  /** The last preview sheet. */
  readonly sheet: string | undefined;
  readonly memory: EventOf<"memory"> | undefined;
  /** From the call to the last event. */
  readonly durationMs: number;
}

/** @returns the exit code: 0 done, 1 failed, 130 stopped */
export async function followRun(
  events: AsyncIterable<TrainEvent>,
  terminal: Terminal,
  options: FollowOptions = {},
): Promise<number> {
  const view = createProgressView(terminal, options.told ? { told: options.told } : {});
  const startedAt = performance.now();
  let sheet: string | undefined;
  let memory: EventOf<"memory"> | undefined;
  let last: TrainEvent | undefined;
  // The step that is being taken may last a while.
  const acknowledge = (): void => {
    if (!options.isJson) terminal.out("Stopping: the run saves itself after this step. Ctrl-C again ends it at once.");
  };
  terminal.signal.addEventListener("abort", acknowledge);
  try {
    for await (const event of events) {
      if (options.isJson) terminal.out(JSON.stringify(event));
      else view.show(event);
      if (event.type === "sample") sheet = event.path;
      if (event.type === "memory") memory = event;
      last = event;
    }
  } finally {
    terminal.signal.removeEventListener("abort", acknowledge);
    view.end();
  }
  if (last?.type === "done") {
    await tellDone({ event: last, sheet, memory, durationMs: performance.now() - startedAt }, terminal, options);
    return 0;
  }
  if (last?.type === "declined") {
    if (!options.isJson) terminal.out("Not begun: nothing was trained, and nothing is left of it but what was encoded.");
    return 130;
  }
  if (last?.type === "stopped") {
    // With --json, what is for people goes to the other stream.
    if (options.isJson) terminal.err(describeStopped(last));
    else terminal.out(describeStopped(last));
    return 130;
  }
  if (last?.type !== "failed")
    throw new Error(`followRun: the last event must be done, stopped, declined or failed, got ${last?.type ?? "none"}`);
  terminal.err(`${last.message}\nFix: ${last.fix}`);
  return 1;
}

async function tellDone(done: RunDone, terminal: Terminal, { isJson, onDone }: FollowOptions): Promise<void> {
  if (onDone) return onDone(done);
  if (!isJson) terminal.out(await describeDone(done, terminal.columns));
}

async function describeDone({ event, sheet, memory, durationMs }: RunDone, columns: number): Promise<string> {
  return [
    "",
    `Done in ${formatDuration(durationMs)}.`,
    ...labelled(
      [
        ["Result", event.path],
        ["Kept", `step ${event.step}. ${event.reason}`],
        ...(sheet === undefined ? [] : [["Preview", sheet] as const]),
        ["Report", event.report],
        ...(memory === undefined ? [] : [["Memory", describeMemory(memory)] as const]),
      ],
      columns,
    ),
    "",
    "Draw with it:",
    `  ${await suggestSample(event.path)}`,
  ].join("\n");
}

function describeMemory({ peakBytes, forecastBytes }: EventOf<"memory">): string {
  return `at most ${formatBytes(peakBytes)}; ${formatBytes(forecastBytes)} was forecast`;
}

/** A command that draws with a run's result. */
async function suggestSample(result: string): Promise<string> {
  const { base, baseOptions, trigger, previewPrompts } = await readPlan(dirname(result));
  const words = [trigger.value, previewPrompts.value[0]?.replaceAll('"', "")].filter((part) => typeof part === "string");
  const prompt = words.length === 0 ? "what to draw" : words.join(", ");
  const how = repeatBaseOptions(baseOptions.value);
  return `gesso sample --base ${quotePath(base.value)}${how} --lora ${quotePath(result)} --prompt "${prompt}" --out picture.png`;
}

function describeStopped({ step, runFolder }: EventOf<"stopped">): string {
  const saved = step > 0 ? `Stopped after step ${step}; everything is saved.` : "Stopped before the first step.";
  return `\n${saved}\nGo on with: gesso train --resume ${quotePath(runFolder)}`;
}
