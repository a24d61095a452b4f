/** What a run took in memory, beside what was forecast of it. */
import type { MemoryEvent } from "./events.ts";
import { datasetLoadOf, type ForecastInput, type MemoryForecast } from "./forecast/forecast.ts";
import { countGraphs } from "./forecast/graphs.ts";
import { forecastMemory } from "./forecast/memory.ts";
import type { PreparedRun } from "./prepare.ts";

type ForecastParts = Pick<PreparedRun, "settings" | "base" | "run" | "engine">;

/** By the run's own settings, or others: graphs are built and counted, which takes a few seconds for SDXL. */
export function forecastRunMemory({ settings, base, run, engine }: ForecastParts): MemoryForecast {
  const input: ForecastInput = { settings, base, dataset: datasetLoadOf(run, base), engine };
  return forecastMemory(input, countGraphs(input));
}

/** The engine's peak since this process began the run, or went on with it. */
export async function measureRunMemory(run: ForecastParts): Promise<MemoryEvent> {
  const { peakBytes } = await run.engine.memory();
  const { peakBytes: forecastBytes, peakAt } = forecastRunMemory(run);
  return { type: "memory", peakBytes, forecastBytes, forecastAt: peakAt, ratio: peakBytes / forecastBytes };
}
