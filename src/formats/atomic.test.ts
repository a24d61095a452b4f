/** Atomic writing: the whole file or none of it. */
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { explainWriteError, writeFileAtomically } from "./atomic.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-atomic-"));
});
afterAll(() => rm(folder, { recursive: true }));

const hello = (write: (bytes: Uint8Array) => Promise<void>) => write(Buffer.from("hello"));

test("the file holds what was written, and replaces an older one", async () => {
  const path = join(folder, "new.txt");
  await writeFile(path, "old and longer");
  await writeFileAtomically(path, async (write) => {
    await write(Buffer.from("one, "));
    await write(Buffer.from("two"));
  });
  expect(await readFile(path, "utf8")).toBe("one, two");
  expect(await readdir(folder)).toEqual(["new.txt"]);
});

test("when making the content fails, the old file stays and no temporary file is left", async () => {
  const path = join(folder, "kept.txt");
  await writeFile(path, "old");
  const attempt = writeFileAtomically(path, async (write) => {
    await hello(write);
    throw new Error("broke off");
  });
  await expect(attempt).rejects.toThrow("broke off");
  expect(await readFile(path, "utf8")).toBe("old");
  expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("a missing folder, a folder of the same name and a file in the way are said in words", async () => {
  await mkdir(join(folder, "taken"));
  await writeFile(join(folder, "plain"), "");
  await expect(writeFileAtomically(join(folder, "absent", "x"), hello)).rejects.toThrow("its folder does not exist");
  await expect(writeFileAtomically(join(folder, "taken"), hello)).rejects.toThrow("a folder of this name exists");
  await expect(writeFileAtomically(join(folder, "plain", "x"), hello)).rejects.toThrow("a part of its path is a file");
  expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test.skipIf(process.platform === "win32" || process.getuid?.() === 0)("a read-only folder is refused", async () => {
  const locked = join(folder, "locked");
  await mkdir(locked);
  await chmod(locked, 0o555);
  await expect(writeFileAtomically(join(locked, "x"), hello)).rejects.toThrow("permission denied");
});

test("a full or read-only disk becomes a UserError that names the file and the mend", () => {
  for (const [code, says] of [
    ["ENOSPC", "the disk is full"],
    ["EACCES", "permission denied"],
    ["EROFS", "read-only"],
    ["EIO", "i/o error"],
  ] as const) {
    const refusal = Object.assign(new Error(`${code}: i/o error, write`), { code, syscall: "write" });
    const error = explainWriteError(refusal, "runs/a.safetensors");
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toContain("Cannot write runs/a.safetensors: ");
    expect((error as UserError).message).toContain(says);
    expect((error as UserError).fix).toBeDefined();
  }
  const bug = new TypeError("x is undefined");
  expect(explainWriteError(bug, "a")).toBe(bug);
});

test.skipIf(process.platform === "win32")("a write that the system cuts short leaves nothing behind", async () => {
  // A process that may write 16 KiB at most gets EFBIG in the middle of the file, as a full disk gives ENOSPC.
  const target = join(folder, "large.bin");
  const script = `
    const { writeFileAtomically } = await import(${JSON.stringify(new URL("./atomic.ts", import.meta.url).href)});
    await writeFileAtomically(process.argv[1], (write) => write(new Uint8Array(2 ** 20))).catch((e) => console.log(e.name, e.message));`;
  const limited = `trap '' XFSZ; ulimit -f 32; exec "$0" --import tsx --input-type=module -e "$1" "$2"`;
  const { stdout } = await promisify(execFile)("sh", ["-c", limited, process.execPath, script, target]);
  expect(stdout).toContain("UserError Cannot write");
  expect(stdout).toContain("the file is larger than the file system or your limits allow");
  expect((await readdir(folder)).filter((name) => name.includes("large"))).toEqual([]);
});
