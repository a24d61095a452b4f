/** Writes a file completely or not at all: temporary name, flush, rename, flush of the folder. */
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors.ts";

/** Appends bytes to the file that is being made. */
export type WriteBytes = (bytes: Uint8Array) => Promise<void>;

/**
 * Makes `path` from what `produce` writes. A reader sees the old file or the new one, never a part; when anything fails, the
 * temporary file is removed and the old file stays.
 *
 * @throws UserError when the system refuses (disk full, no permission, read-only, folder missing)
 * @example await writeFileAtomically("out/state.json", (write) => write(Buffer.from("{}")));
 */
export async function writeFileAtomically(path: string, produce: (write: WriteBytes) => Promise<void>): Promise<void> {
  // Hidden, so that a folder listing made meanwhile does not take it for a result.
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const file = await open(temporary, "wx");
    try {
      await produce(async (bytes) => {
        for (let done = 0; done < bytes.byteLength;) {
          // Pieces: a single write call is limited to 2 GiB by the kernel.
          const piece = bytes.subarray(done, done + 64 * 2 ** 20);
          done += (await file.write(piece, 0, piece.byteLength)).bytesWritten;
        }
      });
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // The first error is the one that matters.
    throw explainWriteError(error, path);
  }
}

/** Without this, a power cut after the rename can lose the new name, though not the bytes. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return; // A folder cannot be opened there; NTFS journals the rename itself.
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Some network and FUSE file systems know no fsync of a folder: the file itself is safe by then.
    if (!["EINVAL", "ENOTSUP", "EPERM"].includes(systemCode(error) ?? "")) throw error;
  } finally {
    await handle.close();
  }
}

/** What a refusal of the operating system means to a person, as a UserError; any other error is returned as it is. */
export function explainWriteError(error: unknown, path: string): unknown {
  const code = systemCode(error);
  if (code === undefined || error instanceof UserError) return error;
  const [reason, fix] = WRITE_REFUSALS[code] ?? [
    error instanceof Error ? error.message : code,
    "Check the folder, or write to another one.",
  ];
  return new UserError(`Cannot write ${path}: ${reason}.`, { fix, cause: error });
}

const OTHER_FOLDER = "Write to another folder, or change its permissions.";
const WRITE_REFUSALS: Readonly<Record<string, readonly [reason: string, fix: string]>> = {
  ENOSPC: ["the disk is full", "Free some space, or write to another disk."],
  EDQUOT: ["your disk quota is used up", "Free some space, or write to another disk."],
  EFBIG: [
    "the file is larger than the file system or your limits allow",
    "Write to another disk, or raise the limit (ulimit -f).",
  ],
  EACCES: ["permission denied", OTHER_FOLDER],
  EPERM: ["the operation is not permitted", OTHER_FOLDER],
  EROFS: ["the file system is read-only", "Write to another folder."],
  ENOENT: ["its folder does not exist", "Create the folder first, or correct the path."],
  ENOTDIR: ["a part of its path is a file, not a folder", "Correct the path."],
  EISDIR: ["a folder of this name exists", "Choose another file name."],
  ENAMETOOLONG: ["the name is too long", "Choose a shorter name."],
};

/** The code of an error of the operating system ("ENOSPC"), or undefined when it is not one. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  return "syscall" in error || /^E[A-Z]+$/.test(error.code) ? error.code : undefined;
}
