/** Tells errors that mean a lack of memory from others, whichever engine they come from. */
import { UserError } from "../errors.ts";
import type { Failure } from "./torch/messages.ts";

/** Whether an error, or what it was caused by, means that memory ran out. */
export function isOutOfMemory(error: unknown): boolean {
  if (!(error instanceof UserError)) return false;
  const cause = error.cause as Partial<Failure> | Error | undefined;
  if (cause && "kind" in cause) return cause.kind === "memory";
  // The CPU engine's errors cross a thread as words.
  return /^The CPU engine (found no|ran out of) memory/.test(error.message) || isOutOfMemory(cause);
}
