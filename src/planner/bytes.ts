/** Bytes in sentences. */

/** "35.2 GB", "310 MB", "4.2 MB": what is less than a gigabyte in megabytes. */
export function formatAmount(bytes: number): string {
  if (bytes >= 1e9) return formatGigabytes(bytes);
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** "35.2 GB", "0.31 GB": powers of 1,000, so that small runs do not read as nothing. */
export function formatGigabytes(bytes: number): string {
  const giga = bytes / 1e9;
  return `${giga.toFixed(giga < 1 ? 2 : 1)} GB`;
}
