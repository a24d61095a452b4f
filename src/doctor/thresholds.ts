/** Every limit that doctor judges by, in one table. Those marked [H] are rules of thumb of ours; the others follow from what is named. */
export const thresholds = {
  /** package.json's "engines". */
  oldestNode: "20.19",
  /** Memory below which even `mini` may not train: its worker, pictures and Node take about 1.5 GB (docs/performance.md). [H] */
  leastMemoryBytes: 2e9,
  /** Memory below which SDXL on the processor is out of reach: its weights in float32 are 10 GB and a step needs as much again. [H] */
  sdxlMemoryBytes: 24e9,
  /** Card memory below which SDXL in bfloat16 is out of reach even with recomputation: weights 5 GB, activations 2 GB. [H] */
  sdxlGpuBytes: 8e9,
  /** A small run: encodings, ten checkpoints and previews. */
  leastDiskBytes: 500e6,
  /** An SDXL run: 1 MB a picture of encodings, and ten checkpoints of 300 MB (rank 16 with optimizer). */
  sdxlDiskBytes: 5e9,
  /** An SDXL checkpoint of 300 MB then takes more than 10 s in which nothing is trained. [H] */
  slowDiskBytesPerSecond: 30e6,
  /** Share of a card's memory that others may hold before it is worth a word. [H] */
  busyGpuShare: 0.2,
  /** Oldest and newest Python that pinned PyTorch builds have (torch-builds.ts). */
  oldestPython: "3.10",
  newestPython: "3.14",
  /** Driver from which Windows lets a full card spill into system memory without a word. NVIDIA, release notes of 536.40. */
  spillDriver: "536.40",
} as const;

/** "3.10" and "3.9.2" as numbers: negative when `a` is older than `b`. Missing parts count as 0, and what is no number ends a version. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [parts(a), parts(b)];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function parts(version: string): number[] {
  return (/^\d+(\.\d+)*/.exec(version)?.[0] ?? "").split(".").map(Number);
}
