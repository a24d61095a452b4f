/** What a run took in memory, beside what was forecast of it. */
import type { MemoryEvent } from "./events.ts";
import { datasetLoadOf } from "./forecast/forecast.ts";
import { countGraphs } from "./forecast/graphs.ts";
import { forecastMemory } from "./forecast/memory.ts";
import type { PreparedRun } from "./prepare.ts";

type Measured = Pick<PreparedRun, "settings" | "base" | "run" | "engine" | "residentBytes">;

/** The engine's peak since this process began the run, or went on with it. The forecast takes a few seconds for SDXL: graphs are built and counted. */
export async function measureRunMemory({ settings, base, run, engine, residentBytes }: Measured): Promise<MemoryEvent> {
  const { peakBytes } = await engine.memory();
  const input = { settings, base, dataset: datasetLoadOf(run, base), engine, residentBytes };
  const { peakBytes: forecastBytes, peakAt } = forecastMemory(input, countGraphs(input));
  return { type: "memory", peakBytes, residentBytes, forecastBytes, forecastAt: peakAt, ratio: peakBytes / forecastBytes };
}
