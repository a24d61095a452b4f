/** How much memory this machine could still give. */
import os from "node:os";

/** Bytes that a new program could take, caches of the system counted and a container's limit kept. */
export function availableMemoryBytes(): number {
  // In @types/node from 22 on; in Node from 20.13 on.
  const { availableMemory } = process as { readonly availableMemory?: () => number };
  return availableMemory?.() ?? os.freemem();
}
