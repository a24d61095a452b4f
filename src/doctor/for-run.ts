/** What doctor knows of a machine that matters to one run: seconds of work, no engine is started and nothing is left behind. */
import type { Finding } from "./finding.ts";
import { judgeNvidiaMemory } from "./judge-cards.ts";
import { judgeDisks, judgeMemory, judgeSystem } from "./judge-system.ts";
import { probeDisk } from "./probe-disk.ts";
import { probeNvidia } from "./probe-nvidia.ts";
import { probeMemory, probeProcessor, probeSystem } from "./probe-system.ts";
import type { ToolOptions } from "./run-tool.ts";

export interface RunPlaces {
  readonly runFolder: string;
  readonly cacheFolder: string;
  /** As PyTorch calls it: "cpu", "cuda:0". */
  readonly device: string;
}

/** A stuck driver must not keep a run waiting. */
const tool: ToolOptions = { timeoutMs: 5000, signal: undefined };

/** What a run's forecast judges better: it knows what the run needs. */
const forecastKnows = /^(memory-small|card-small|disk-(full|small)-)/;

/**
 * System, memory and disks, and whether others hold the card's memory.
 *
 * @example const broken = (await examineForRun(places)).filter(({ mark }) => mark === "broken");
 */
export async function examineForRun({ runFolder, cacheFolder, device }: RunPlaces): Promise<readonly Finding[]> {
  const isNvidia = device.startsWith("cuda");
  const [system, processor, nvidia] = await Promise.all([
    probeSystem(tool),
    probeProcessor(tool),
    isNvidia ? probeNvidia(tool) : ({ status: "absent" } as const),
  ]);
  const disks = [await probeDisk("runs", runFolder), await probeDisk("caches", cacheFolder)];
  const found = [
    ...judgeSystem({ system, processor }),
    ...(isNvidia ? [] : judgeMemory({ memory: probeMemory() })),
    ...judgeDisks({ disks }),
    ...judgeNvidiaMemory({ gpu: { nvidia }, system }),
  ];
  return found.filter(({ id }) => !forecastKnows.test(id));
}
