/** How far a run is: a state that events move on, and how it is written as a line. No terminal and no clock of its own. */
import { formatBytes } from "../bytes.ts";
import type { TrainEvent } from "../index.ts";
import { cut, formatDuration } from "./format.ts";

type Phase = Extract<TrainEvent, { type: "progress" }>["phase"];

/** What the line is made from. */
export interface ProgressState {
  /** Steps done, and how many there are. */
  readonly step: number;
  readonly steps: number;
  /** What is prepared at the moment; undefined while steps are taken. */
  readonly phase: { readonly name: Phase; readonly done: number; readonly total: number } | undefined;
  /** Exponential mean of the losses, and the weight it has gathered so far (towards 1). */
  readonly lossSum: number;
  readonly lossWeight: number;
  /** The step from which the rate is counted: the first of this process, which had to prepare everything. */
  readonly from: { readonly step: number; readonly atMs: number } | undefined;
  readonly lastAtMs: number;
  readonly memoryBytes: number | undefined;
  /** The last measured loss over the base model's, and what it was measured on. */
  readonly measured: { readonly ratio: number; readonly isHeldOut: boolean } | undefined;
  /** The last plain line. */
  readonly told: { readonly step: number; readonly atMs: number } | undefined;
}

export const initialProgress: ProgressState = {
  step: 0,
  steps: 0,
  phase: undefined,
  lossSum: 0,
  lossWeight: 0,
  from: undefined,
  lastAtMs: 0,
  memoryBytes: undefined,
  measured: undefined,
  told: undefined,
};

/** About the last 20 steps: single losses say more about their timestep than about the training. */
const SMOOTHING = 0.95;

/** The state after an event. */
export function advance(state: ProgressState, event: TrainEvent, nowMs: number): ProgressState {
  switch (event.type) {
    case "start":
      return { ...state, step: event.step, steps: event.steps, lastAtMs: nowMs };
    case "progress":
      return { ...state, phase: { name: event.phase, done: event.done, total: event.total } };
    case "step": {
      // After a rollback the same steps come again.
      const from = state.from && event.step > state.from.step ? state.from : { step: event.step, atMs: nowMs };
      const lossSum = SMOOTHING * state.lossSum + (1 - SMOOTHING) * event.loss;
      const lossWeight = SMOOTHING * state.lossWeight + (1 - SMOOTHING);
      const { step, memoryBytes } = event;
      return { ...state, step, memoryBytes, from, lossSum, lossWeight, lastAtMs: nowMs, phase: undefined };
    }
    case "validation":
      // Before the first step the ratio is 1 by definition.
      return {
        ...state,
        measured: event.step > 0 ? { ratio: event.ratio, isHeldOut: event.heldOut !== null } : undefined,
        phase: undefined,
      };
    case "sample":
    case "checkpoint":
    case "memory":
    case "warning":
    case "preflight":
    case "declined":
    case "stopped":
    case "done":
    case "failed":
      return { ...state, phase: undefined };
  }
}

/** Notes that a plain line was written. */
export function markTold(state: ProgressState, nowMs: number): ProgressState {
  return { ...state, told: { step: state.step, atMs: nowMs } };
}

/** Where nobody watches, a run is told in about twenty lines, or one every half a minute. */
export function isTimeToTell(state: ProgressState, nowMs: number): boolean {
  if (state.step === 0 || state.told?.step === state.step) return false;
  if (!state.told || state.step === state.steps) return true;
  return state.step - state.told.step >= state.steps / 20 || nowMs - state.told.atMs >= 30_000;
}

/** Smoothed loss; undefined before the first step. */
export function smoothedLoss({ lossSum, lossWeight }: ProgressState): number | undefined {
  return lossWeight > 0 ? lossSum / lossWeight : undefined;
}

/** Milliseconds a step over this process's steps, pauses for measuring and previews counted; undefined before the second step. */
function stepMs({ from, step, lastAtMs }: ProgressState): number | undefined {
  return from && step > from.step ? (lastAtMs - from.atMs) / (step - from.step) : undefined;
}

/** What is prepared, in words. */
export const phaseTexts: { readonly [K in Phase]: string } = {
  base: "reading the base model",
  latents: "encoding pictures",
  captions: "encoding captions",
  compile: "preparing the step",
  preflight: "trying everything once on the largest pictures",
  preview: "drawing a preview",
};

/** The line as it is now, in at most `columns`: what matters least gives way first. */
export function renderProgress(state: ProgressState, columns: number): string {
  const { step, steps } = state;
  const parts = [
    { text: step > 0 && steps > 0 ? `step ${step}/${steps}` : "", rank: 0 },
    ...(state.phase ? [phasePart(state.phase)] : measureParts(state)),
  ];
  const shown = parts.filter(({ text }) => text !== "").map((part, place) => ({ ...part, place }));
  const byRank = [...shown].sort((a, b) => a.rank - b.rank);
  while (byRank.length > 1 && lengthOf(byRank) > columns) byRank.pop();
  const line = byRank
    .sort((a, b) => a.place - b.place)
    .map(({ text }) => text)
    .join("  ");
  const bar = renderBar(state, columns - line.length - 2);
  return cut(bar === "" ? line : `${bar}  ${line}`, columns);
}

interface Part {
  readonly text: string;
  /** 0 stays longest. */
  readonly rank: number;
}

function lengthOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { text }) => sum + text.length + 2, -2);
}

function phasePart({ name, done, total }: NonNullable<ProgressState["phase"]>): Part {
  return { text: `${phaseTexts[name]}${total > 1 ? ` ${done}/${total}` : ""}`, rank: 1 };
}

function measureParts(state: ProgressState): readonly Part[] {
  const loss = smoothedLoss(state);
  const ms = stepMs(state);
  const left = ms === undefined ? 0 : ms * (state.steps - state.step);
  return [
    { text: loss === undefined ? "" : `loss ${loss.toFixed(4)}`, rank: 2 },
    { text: ms === undefined ? "" : formatRate(ms), rank: 4 },
    { text: left > 0 ? `${formatDuration(left)} left` : "", rank: 1 },
    { text: state.memoryBytes === undefined ? "" : formatBytes(state.memoryBytes), rank: 5 },
    {
      text: state.measured
        ? `${state.measured.isHeldOut ? "held-out" : "measured"} ${formatRatio(state.measured.ratio)} of base`
        : "",
      rank: 3,
    },
  ];
}

/** "12.3 steps/s", or "2.1 s/step" where a step takes longer than a second. */
function formatRate(ms: number): string {
  return ms < 1000 ? `${(1000 / ms).toFixed(1)} steps/s` : `${(ms / 1000).toFixed(1)} s/step`;
}

/** A loss over the base model's, such as 0.931. */
export function formatRatio(ratio: number): string {
  return ratio.toFixed(3);
}

function renderBar({ step, steps }: ProgressState, room: number): string {
  const width = Math.min(24, room);
  if (width < 8 || steps === 0 || step === 0) return "";
  const full = Math.floor((width * step) / steps);
  return "━".repeat(full) + "─".repeat(width - full);
}
