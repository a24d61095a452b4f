/** Bytes in sentences. */

/** "35.2 GB", "0.31 GB": powers of 1,000, so that small runs do not read as nothing. */
export function formatGigabytes(bytes: number): string {
  const giga = bytes / 1e9;
  return `${giga.toFixed(giga < 1 ? 2 : 1)} GB`;
}
