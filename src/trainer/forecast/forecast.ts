/** What a run will take before it is started: memory term by term, and time. Graphs are built as the run will build them; nothing is run. */
import type { BaseConfigs } from "../../checkpoints/base.ts";
import type { DeviceProfile } from "../../engines/engine.ts";
import type { RunPictures } from "../pictures.ts";
import { countGraphs, type DatasetLoad, type ForecastInput } from "./graphs.ts";
import { forecastMemory, type MemoryForecast } from "./memory.ts";
import { forecastTime, type TimeForecast } from "./time.ts";

export interface RunForecast {
  readonly memory: MemoryForecast;
  readonly time: TimeForecast;
}

/**
 * A few seconds for SDXL, most of them for putting its step in order.
 *
 * @param input.profile with measured rates, or the times mean nothing
 * @example
 * const { memory } = forecastRun({ settings, base, dataset: datasetLoadOf(run, base), engine, profile: engine.profile });
 */
export function forecastRun(input: ForecastInput & { readonly profile: DeviceProfile }): RunForecast {
  const graphs = countGraphs(input);
  return { memory: forecastMemory(input, graphs), time: forecastTime(input, graphs, input.profile) };
}

/** What a forecast has to know of a run's pictures. Whether a mask hides in an alpha channel is not known before they are read. */
export function datasetLoadOf(
  { pictures, buckets }: Pick<RunPictures, "pictures" | "buckets">,
  { pixelsPerLatent }: Pick<BaseConfigs, "pixelsPerLatent">,
): DatasetLoad {
  const shown = pictures.filter(({ isHeldOut }) => !isHeldOut);
  const all = shown.reduce((sum, { item }) => sum + item.repeats, 0);
  if (all === 0) throw new Error("forecast: at least one picture needed, got none");
  return {
    buckets: buckets.map(({ widthPx, heightPx }, index) => {
      const own = pictures.filter(({ bucketIndex }) => bucketIndex === index);
      const inSteps = own.reduce((sum, { item, isHeldOut }) => sum + (isHeldOut ? 0 : item.repeats), 0);
      return {
        height: heightPx / pixelsPerLatent,
        width: widthPx / pixelsPerLatent,
        share: inSteps / all,
        pictures: own.length,
        heldOut: own.filter(({ isHeldOut }) => isHeldOut).length,
      };
    }),
    captions: new Set(pictures.map(({ caption }) => caption)).size,
    masked: pictures.some(({ item }) => item.maskPath !== undefined),
  };
}

export type { BucketLoad, DatasetLoad, ForecastInput } from "./graphs.ts";
export type { MemoryForecast, MemoryTerm, PhaseMemory, RunPhase } from "./memory.ts";
export type { TimeForecast, TimeTerm } from "./time.ts";
