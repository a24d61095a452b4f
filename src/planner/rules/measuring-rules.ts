/** Rules on what a run keeps and measures, for the best step to be found. */
import { limits } from "../limits.ts";
import { from, heuristic } from "../sources.ts";
import type { PlanRule } from "./rule.ts";

export const measuringRules: readonly PlanRule[] = [
  {
    id: "checkpoints.few",
    severity: "warning",
    title: "few checkpoints",
    reason: "The best step is rarely the last one, and only what was saved can be chosen.",
    mend: "Lower --checkpoint-every.",
    source: from("civitai"),
    limits: ["checkpointShare"],
    find: ({ settings: { steps, checkpointEvery } }) =>
      checkpointEvery > steps * limits.checkpointShare.value
        ? "Few checkpoints: there will be little to choose the best from."
        : undefined,
  },
  {
    id: "held-out.none",
    severity: "warning",
    title: "nothing held out of a set that is large enough",
    reason: "Without pictures that are only measured on, nothing tells learning from copying.",
    mend: "Leave --held-out out.",
    source: heuristic("kohya"),
    limits: ["picturesForHoldOut"],
    find: ({ settings: { heldOutFraction }, dataset: { pictures } }) =>
      heldOutFraction === 0 && pictures >= limits.picturesForHoldOut.value
        ? `No picture of ${pictures} is held out: nothing will tell when to stop.`
        : undefined,
  },
];
