/** What a run took in memory, beside what was forecast of it. */
import type { MemoryEvent } from "./events.ts";
import { datasetLoadOf } from "./forecast/forecast.ts";
import { countGraphs } from "./forecast/graphs.ts";
import { forecastMemory, type MemoryForecast } from "./forecast/memory.ts";
import type { PreparedRun } from "./prepare.ts";

type Measured = Pick<PreparedRun, "settings" | "base" | "run" | "engine" | "residentBytes" | "forecast">;

/** The engine's peak since this process began the run, or went on with it. */
export async function measureRunMemory(run: Measured): Promise<MemoryEvent> {
  const { engine, residentBytes } = run;
  const { peakBytes } = await engine.memory();
  const { peakBytes: forecastBytes, peakAt } = run.forecast ?? forecastAfterwards(run);
  return { type: "memory", peakBytes, residentBytes, forecastBytes, forecastAt: peakAt, ratio: peakBytes / forecastBytes };
}

/** A few seconds for SDXL, and some hundred MB: graphs are built and counted. */
function forecastAfterwards({ settings, base, run, engine, residentBytes }: Measured): MemoryForecast {
  const input = { settings, base, dataset: datasetLoadOf(run, base), engine, residentBytes };
  return forecastMemory(input, countGraphs(input));
}
