/** Bytes in words, the same on every page and in every message. Any folder may import this. */

/**
 * "640 bytes", "12 kB", "3.4 MB", "340 MB", "7.9 GB", "120 GB", "1.9 TB": powers of 1,000, as file managers and disks count, in two digits or
 * three. Memory and disk are told alike, so that they can be compared.
 */
export function formatBytes(bytes: number): string {
  if (bytes < 995) return `${Math.round(bytes)} bytes`;
  if (bytes < 995e3) return `${inDigits(bytes / 1e3, 9.95)} kB`;
  if (bytes < 995e6) return `${inDigits(bytes / 1e6, 9.95)} MB`;
  // A tenth of a gigabyte decides whether a run fits.
  if (bytes < 995e9) return `${inDigits(bytes / 1e9, 99.5)} GB`;
  return `${inDigits(bytes / 1e12, 99.5)} TB`;
}

/** With one decimal below `limit`, without one from there on. */
function inDigits(value: number, limit: number): string {
  return value.toFixed(value < limit ? 1 : 0);
}
