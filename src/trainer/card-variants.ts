/** The ways to run a plan on a rented card, counted once each. */
import type { BaseConfigs } from "../checkpoints/base.ts";
import { torchFacts } from "../engines/torch/engine.ts";
import type { CardVariant } from "../planner/costs.ts";
import type { TrainSettings } from "../planner/plan.ts";
import type { DatasetLoad } from "./forecast/forecast.ts";
import { countGraphs } from "./forecast/graphs.ts";
import { forecastMemory } from "./forecast/memory.ts";
import { forecastTime } from "./forecast/time.ts";

/** What is rented has the torch engine, and computes in bfloat16. */
const rented = { engine: "torch", device: "cuda:0", precision: "bfloat16" } as const;

/** As it is, with blocks recomputed, and picture by picture. @param kept settings that the user chose */
export function cardVariants(
  settings: TrainSettings,
  base: BaseConfigs,
  load: DatasetLoad,
  kept: ReadonlySet<keyof TrainSettings>,
): readonly CardVariant[] {
  const perStep = settings.batch * settings.accumulation;
  const own = { batch: settings.batch, accumulation: settings.accumulation };
  const isBatchFree = !kept.has("batch") && !kept.has("accumulation");
  const changes = [
    ...(kept.has("recompute") ? [] : [{ ...own, recompute: false }]),
    { ...own, recompute: true },
    ...(isBatchFree && settings.batch > 1 ? [{ batch: 1, accumulation: perStep, recompute: true }] : []),
  ];
  return changes.map((change): CardVariant => {
    const input = {
      settings: { ...settings, ...rented, ...change },
      base,
      dataset: load,
      engine: torchFacts(rented.device, rented.precision),
    };
    const graphs = countGraphs(input);
    return {
      ...change,
      peakBytes: forecastMemory(input, graphs).peakBytes,
      // The rate of the table is that of whole steps: what memory takes is in it.
      secondsAt: (flopsPerSecond) =>
        forecastTime(input, graphs, { ...anyCard, flopsPerSecond, bytesPerSecond: Infinity }).totalSeconds,
    };
  });
}

const anyCard = { engine: "torch", name: "a rented card", memoryBytes: 0, threads: 1, dtypes: [] } as const;
