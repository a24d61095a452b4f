/** Writes into a plan what was chosen for the device's memory, and why. */
import { formatGigabytes } from "./bytes.ts";
import type { Fit, FitTrial } from "./fit.ts";
import { limits } from "./limits.ts";
import type { Planned, TrainPlan } from "./plan.ts";

const source = "forecast from the graph, this machine's memory";

/** @param device.freeBytes what a run could take; `device.name` as it is told to people */
export function applyFit<F>(plan: TrainPlan, fit: Fit<F>, device: { readonly freeBytes: number }): TrainPlan {
  if (!fit.fits || fit.chosen === fit.first) return plan;
  const { change } = fit.chosen;
  const why = explainFit(fit, device);
  const changed = <K extends keyof typeof change>(name: K, reason: string): Planned<(typeof change)[K]> =>
    plan[name].value === change[name] ? (plan[name] as Planned<(typeof change)[K]>) : { value: change[name], reason, source };
  const perStep = change.batch * change.accumulation;
  return {
    ...plan,
    recompute: changed("recompute", why),
    batch: changed("batch", `${perStep} at once do not fit; ${why}`),
    accumulation: changed("accumulation", `so that a step is on ${perStep} pictures as planned`),
    precision: changed("precision", why),
  };
}

/** "35.2 GB would not fit the 24.0 GB that are free; 13.3 GB do, 32 % slower" */
function explainFit<F>({ first, chosen }: Fit<F>, { freeBytes }: { readonly freeBytes: number }): string {
  const [before, after] = [first.figures, chosen.figures];
  const needed = `${formatGigabytes(before.peakBytes)} would not fit the ${formatGigabytes(freeBytes)} that are free`;
  const margin = before.peakBytes <= freeBytes ? ` with ${limits.memoryMargin.value * 100} % to spare` : "";
  return `${needed}${margin}; ${formatGigabytes(after.peakBytes)} do, ${describeSlower(first, chosen)}`;
}

function describeSlower<F>(first: FitTrial<F>, chosen: FitTrial<F>): string {
  const share = chosen.figures.totalSeconds / first.figures.totalSeconds - 1;
  const percent = Math.round(Math.abs(share) * 100);
  if (percent < 1) return "as fast";
  return `${percent} % ${share > 0 ? "slower" : "faster"}`;
}
