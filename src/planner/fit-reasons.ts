/** Writes into a plan what was chosen for the device's memory, and why. */
import { formatBytes } from "../bytes.ts";
import { asked } from "./decide.ts";
import type { Fit, FitTrial } from "./fit.ts";
import { limits } from "./limits.ts";
import type { Planned, TrainPlan } from "./plan.ts";

const source = "forecast from the graph, this machine's memory";

/** @param device.freeBytes what a run could take */
export function applyFit<F>(plan: TrainPlan, fit: Fit<F>, device: { readonly freeBytes: number }): TrainPlan {
  if (!fit.fits || fit.chosen === fit.first) return plan;
  const { change } = fit.chosen;
  const why = explainFit(fit, device);
  const changed = <K extends keyof typeof change>(name: K, reason: string): Planned<(typeof change)[K]> => {
    const planned = plan[name] as Planned<(typeof change)[K]>;
    return isSame(planned.value, change[name]) ? planned : { value: change[name], reason, source };
  };
  const perStep = change.batch * change.accumulation;
  const precision = changed("precision", why);
  // Weights that are not quantised are kept in what they are computed with.
  const isOwn = plan.basePrecision.value === plan.precision.value && plan.basePrecision.reason !== asked;
  const previewPrompts = changed("previewPrompts", `previews do not fit beside the run; ${why}`);
  return {
    ...plan,
    ...(change.previewPrompts.length === 0 ? { previewEvery: { ...previewPrompts, value: 0 } } : {}),
    recompute: changed("recompute", why),
    batch: changed("batch", `${perStep} at once do not fit; ${why}`),
    accumulation: changed("accumulation", `so that a step is on ${perStep} pictures as planned`),
    precision,
    basePrecision: isOwn ? { ...plan.basePrecision, value: change.precision } : plan.basePrecision,
    previewSizePx: changed("previewSizePx", `previews of ${plan.previewSizePx.value} px do not fit beside the run; ${why}`),
    previewPrompts,
  };
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** "35.2 GB would not fit the 24.0 GB that are free; 13.3 GB do, 32 % slower" */
function explainFit<F>({ first, chosen }: Fit<F>, { freeBytes }: { readonly freeBytes: number }): string {
  const [before, after] = [first.figures, chosen.figures];
  const needed = `${formatBytes(before.peakBytes)} would not fit the ${formatBytes(freeBytes)} that are free`;
  const margin = before.peakBytes <= freeBytes ? ` with ${limits.memoryMargin.value * 100} % to spare` : "";
  return `${needed}${margin}; ${formatBytes(after.peakBytes)} do, ${describeSlower(first, chosen)}`;
}

function describeSlower<F>(first: FitTrial<F>, chosen: FitTrial<F>): string {
  const share = chosen.figures.totalSeconds / first.figures.totalSeconds - 1;
  const percent = Math.round(Math.abs(share) * 100);
  if (percent < 1) return "as fast";
  return `${percent} % ${share > 0 ? "slower" : "faster"}`;
}
