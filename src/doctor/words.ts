/** Rates and lists as doctor's sentences have them. */

export function megabytesPerSecond(bytesPerSecond: number): string {
  return bytesPerSecond < 995e6 ? `${Math.round(bytesPerSecond / 1e6)} MB/s` : `${(bytesPerSecond / 1e9).toFixed(1)} GB/s`;
}

/** "95 GFLOP/s", "312 TFLOP/s". */
export function flopRate(flopsPerSecond: number): string {
  const [value, unit] = flopsPerSecond < 995e9 ? [flopsPerSecond / 1e9, "GFLOP/s"] : [flopsPerSecond / 1e12, "TFLOP/s"];
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${unit}`;
}

/** "a", "a and b", "a, b and c". */
export function listOf(items: readonly string[]): string {
  const last = items.at(-1) ?? "";
  return items.length < 2 ? last : `${items.slice(0, -1).join(", ")} and ${last}`;
}
