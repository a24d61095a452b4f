/** What a run tells while it goes on: for the terminal, the studio and tests alike, and as lines of events.jsonl. */

import type { RunPhase } from "./forecast/memory.ts";

/** Mean losses at fixed noise and timesteps. */
export interface Losses {
  readonly train: number;
  /** Null when no picture is held out. */
  readonly heldOut: number | null;
}

export interface Validation extends Losses {
  readonly step: number;
  /** The base model's own losses, before the first step. */
  readonly base: Losses;
  /** Held-out loss over the base model's; of the training pictures when none is held out. Below 1 is better than the base. */
  readonly ratio: number;
}

/**
 * Everything that a run does was done once, on its largest pictures: a step, a measurement, a step of a preview, a checkpoint. It leaves no
 * trace in the run's numbers. Stands before `start`.
 */
export interface PreflightEvent {
  readonly type: "preflight";
  /** The pictures with the most pixels, and how many at once. */
  readonly bucket: { readonly widthPx: number; readonly heightPx: number; readonly batch: number };
  /** Sizes of pictures in training: how many there are, of how many the step is compiled, and of how many its graph was checked alone. */
  readonly sizes: { readonly count: number; readonly compiled: number; readonly checked: number };
  readonly loss: number;
  /** An optimizer step on the largest pictures, all microsteps together. */
  readonly stepMs: number;
  /** The losses of one batch of them. */
  readonly validationMs: number;
  /** One step of the sampler, and the rest of a picture; null without previews. */
  readonly preview: { readonly samplerStepMs: number; readonly decodeMs: number } | null;
  readonly checkpointMs: number;
  readonly checkpointBytes: number;
  /** The most memory that the engine held: of this process, or of the device. */
  readonly peakBytes: number;
  /** The whole run by these times; encoding is left out. */
  readonly runMs: number;
  /** What the preflight itself took. */
  readonly durationMs: number;
}

/** What a run took at most, beside what was forecast of it. Stands before `done`. */
export interface MemoryEvent {
  readonly type: "memory";
  /** The most that the engine held since this process began the run, or went on with it: of this process, or of the device. */
  readonly peakBytes: number;
  /** What this process held before the run. */
  readonly residentBytes: number;
  readonly forecastBytes: number;
  /** The part of the run that was to take the most. */
  readonly forecastAt: RunPhase;
  /** What was measured over what was forecast. */
  readonly ratio: number;
}

export type TrainEvent =
  | {
      readonly type: "start";
      readonly name: string;
      readonly runFolder: string;
      /** Steps done already: above 0 when a run goes on. */
      readonly step: number;
      readonly steps: number;
      readonly pictures: number;
      /** Names of the pictures that are only measured on. */
      readonly heldOut: readonly string[];
      readonly buckets: readonly { readonly widthPx: number; readonly heightPx: number; readonly pictures: number }[];
      readonly layers: number;
      readonly trainedParameters: number;
      readonly device: string;
    }
  /** Preparation going on; not kept in events.jsonl. */
  | {
      readonly type: "progress";
      readonly phase: "base" | "latents" | "captions" | "compile" | "preflight" | "preview";
      readonly done: number;
      readonly total: number;
    }
  | {
      readonly type: "step";
      readonly step: number;
      readonly epoch: number;
      /** Weighted, over all pictures of the step. */
      readonly loss: number;
      readonly lr: number;
      readonly gradNorm: number;
      readonly durationMs: number;
      /** Memory that the engine holds: of this process, or of the device. */
      readonly memoryBytes: number;
    }
  | ({ readonly type: "validation" } & Validation)
  | { readonly type: "sample"; readonly step: number; readonly path: string }
  | { readonly type: "checkpoint"; readonly step: number; readonly path: string }
  | { readonly type: "warning"; readonly message: string }
  | PreflightEvent
  | MemoryEvent
  /** What the preflight told was not agreed to: nothing was trained, and the run's folder is taken away. */
  | { readonly type: "declined"; readonly runFolder: string }
  /** The run was asked to stop and has saved itself; it can be gone on with. */
  | { readonly type: "stopped"; readonly step: number; readonly runFolder: string; readonly checkpoint: string | null }
  | {
      readonly type: "done";
      readonly path: string;
      readonly step: number;
      readonly reason: string;
      readonly ratio: number | null;
      readonly report: string;
    }
  | {
      readonly type: "failed";
      readonly step: number;
      readonly message: string;
      readonly fix: string;
      /** Names of the pictures in the batch. */
      readonly pictures: readonly string[];
      /** The last good checkpoint, or null when there is none. */
      readonly checkpoint: string | null;
    };
