/** What a measuring process runs: reads files that it is told of, and measures those whose content is not known. */
import { readFileSync } from "node:fs";
import { type Failure, failureOf, UserError } from "../../errors.ts";
import { followParent } from "../../processes.ts";
import { hashBytes, measureBytes, type MeasuredFile } from "./picture.ts";

/** To a measuring process. */
export type Order =
  | { readonly type: "read"; readonly id: number; readonly path: string }
  /** Answers `read`: measure the file, or forget it. */
  | { readonly type: "measure"; readonly id: number }
  | { readonly type: "forget"; readonly id: number };

/** From a measuring process. */
export type Answer =
  | { readonly type: "read"; readonly id: number; readonly fileHash: string }
  | { readonly type: "measured"; readonly id: number; readonly measured: Omit<MeasuredFile, "fileHash"> }
  /** A UserError: the file is at fault; otherwise the program is. */
  | { readonly type: "failed"; readonly id: number; readonly failure: Failure };

const files = new Map<number, { readonly path: string; readonly bytes: Uint8Array }>();

followParent();
process.on("message", (order: Order) => {
  void carryOut(order).catch((error: unknown) => {
    files.delete(order.id);
    answer({ type: "failed", id: order.id, failure: failureOf(error) });
  });
});

function answer(message: Answer): void {
  process.send?.(message);
}

async function carryOut(order: Order): Promise<void> {
  const { id } = order;
  if (order.type === "read") {
    const bytes = readBytes(order.path);
    files.set(id, { path: order.path, bytes });
    answer({ type: "read", id, fileHash: hashBytes(bytes) });
    return;
  }
  const file = files.get(id);
  files.delete(id);
  if (order.type === "measure" && file) answer({ type: "measured", id, measured: await measureBytes(file.path, file.bytes) });
}

/** At once: waiting for a file in steps costs six times the processor time of reading it. Others decode meanwhile. */
function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new UserError(`There is no file ${path}.`, { fix: "Correct the path.", cause: error });
    throw new UserError(`Cannot read ${path}: ${code ?? message}.`, {
      fix: "Check the file and its permissions.",
      cause: error,
    });
  }
}
