/** The cache: what was put is got, and nothing damaged is ever handed out. */
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { hashFile, makeCacheKey, openCache } from "./cache.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-cache-"));
});
afterAll(() => rm(folder, { recursive: true }));

const silent = {
  onDamaged: (path: string) => {
    throw new Error(`unexpectedly damaged: ${path}`);
  },
};
const tensors = {
  latents: { shape: [1, 4, 2], data: Float32Array.of(0, 1.5, -2, 1e-40, 3e38, -0, 7, 8) },
  sizes: { shape: [2], data: Float32Array.of(64, 96) },
};

test("tensors come back bit for bit, in another process's view of the folder too", async () => {
  const key = makeCacheKey({ picture: "a", model: "b" });
  await (await openCache(join(folder, "new", "cache"), silent)).put(key, tensors);
  const got = await (await openCache(join(folder, "new", "cache"), silent)).get(key);
  expect(got).toEqual(tensors);
});

test("a key that was never put gives undefined, and a second put replaces the first", async () => {
  const cache = await openCache(folder, silent);
  const key = makeCacheKey("twice");
  expect(await cache.get(key)).toBeUndefined();
  await cache.put(key, tensors);
  await cache.put(key, { only: { shape: [1], data: Float32Array.of(5) } });
  expect(await cache.get(key)).toEqual({ only: { shape: [1], data: Float32Array.of(5) } });
});

test.each<[damage: string, harm: (path: string) => Promise<void>, says: string]>([
  ["a truncated file", (path) => truncate(path, 100), "not a sound safetensors file"],
  ["an empty file", (path) => truncate(path, 0), "not a sound safetensors file"],
  [
    "a bit that flipped",
    async (path) => {
      const bytes = await readFile(path);
      bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1;
      await writeFile(path, bytes);
    },
    "does not hold the bytes that were written",
  ],
])("%s is thrown away, told, and made again", async (damage, harm, says) => {
  const told: string[] = [];
  const cache = await openCache(folder, { onDamaged: (path, reason) => told.push(`${path}: ${reason}`) });
  const key = makeCacheKey(damage);
  await cache.put(key, tensors);
  const path = join(folder, key.slice(0, 2), `${key}.safetensors`);
  await harm(path);
  expect(await cache.get(key)).toBeUndefined();
  expect(told).toHaveLength(1);
  expect(told[0]).toContain(path);
  expect(told[0]).toContain(says);
  expect(await readdir(join(folder, key.slice(0, 2)))).not.toContain(`${key}.safetensors`);
  await cache.put(key, tensors);
  expect(await cache.get(key)).toEqual(tensors);
  expect(told).toHaveLength(1);
});

test("a file that was copied to the name of another key is not handed out", async () => {
  const told: string[] = [];
  const cache = await openCache(folder, { onDamaged: (_, reason) => told.push(reason) });
  const [from, to] = [makeCacheKey("from"), makeCacheKey("to")];
  await cache.put(from, tensors);
  await cache.put(to, tensors);
  const pathOf = (key: string) => join(folder, key.slice(0, 2), `${key}.safetensors`);
  await writeFile(pathOf(to), await readFile(pathOf(from)));
  expect(await cache.get(to)).toBeUndefined();
  expect(told[0]).toContain("another key");
});

test("equal parts give equal keys in any order of names, and different parts different keys", () => {
  expect(makeCacheKey({ a: 1, b: { c: [1, 2], d: null } })).toBe(makeCacheKey({ b: { d: null, c: [1, 2] }, a: 1 }));
  const keys = [{ a: 1 }, { a: "1" }, { a: [1] }, { a: true }, { a: null }, [{ a: 1 }], { b: 1 }, {}, [], "a", 1].map(
    makeCacheKey,
  );
  expect(new Set(keys).size).toBe(keys.length);
  expect(() => makeCacheKey({ a: NaN })).toThrow("JSON has no NaN");
});

test("a folder that cannot be made and a name that is no key are refused", async () => {
  await writeFile(join(folder, "plain"), "");
  await expect(openCache(join(folder, "plain", "cache"), silent)).rejects.toBeInstanceOf(UserError);
  const cache = await openCache(folder, silent);
  await expect(cache.get("../../etc/passwd")).rejects.toThrow("64 hexadecimal digits");
});

test("the hash of a file is the SHA-256 of its bytes", async () => {
  await writeFile(join(folder, "abc"), "abc");
  // FIPS 180-2, appendix B.1.
  expect(await hashFile(join(folder, "abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  await expect(hashFile(join(folder, "absent"))).rejects.toBeInstanceOf(UserError);
});
