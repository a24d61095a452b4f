/** Safetensors: what is written is read back, and no header that lies is believed. */
import { mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { decodeToFloat32, openSafetensors, readTensor, readTensorSync, writeSafetensors } from "./safetensors.ts";
import type { TensorToWrite } from "./safetensors.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-safetensors-"));
});
afterAll(() => rm(folder, { recursive: true }));

const sample: readonly TensorToWrite[] = [
  { name: "b.weight", dtype: "F16", shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 65504) },
  { name: "a.weight", dtype: "F32", shape: [3], data: Float32Array.of(0.1, -0, NaN) },
  { name: "10", dtype: "I64", shape: [2], data: Int32Array.of(-5, 7) },
  { name: "9", dtype: "I32", shape: [], data: Int32Array.of(42) },
  { name: "c", dtype: "BF16", shape: [0, 4], data: new Float32Array(0) },
];

/** A file of this header (object or text) and so many bytes of data; returns its path. */
async function writeRaw(name: string, header: unknown, dataBytes: number): Promise<string> {
  const json = Buffer.isBuffer(header) ? header : Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, name);
  await writeFile(path, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  return path;
}

async function refusal(attempt: Promise<unknown>): Promise<UserError> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof UserError)) throw new Error(`expected a UserError, got ${String(error)}`);
  return error;
}

describe("writing and reading", () => {
  test("every tensor and metadata entry comes back as it was written", async () => {
    const path = join(folder, "sample.safetensors");
    await writeSafetensors(path, sample, { zeta: "1", alpha: 'quotes " and \u{1F3A8}' });
    const file = await openSafetensors(path);
    expect(file.metadata).toEqual({ alpha: 'quotes " and \u{1F3A8}', zeta: "1" });
    expect([...file.tensors.keys()]).toEqual(["10", "9", "a.weight", "b.weight", "c"]);
    for (const { name, dtype, shape, data } of sample) {
      expect(file.tensors.get(name)).toMatchObject({ dtype, shape });
      expect([...(await readTensor(file, name))]).toEqual([...Float32Array.from(data)]);
      expect([...readTensorSync(file, name)]).toEqual([...Float32Array.from(data)]);
    }
  });

  test("the bytes follow the format: length, JSON padded to 8, aligned data, the same in any order of writing", async () => {
    const [one, two] = [join(folder, "one.safetensors"), join(folder, "two.safetensors")];
    await writeSafetensors(one, sample, { b: "2", a: "1" });
    await writeSafetensors(two, [...sample].reverse(), { a: "1", b: "2" });
    const bytes = await readFile(one);
    expect(bytes.equals(await readFile(two))).toBe(true);
    const headerBytes = Number(bytes.readBigUInt64LE(0));
    expect(headerBytes % 8).toBe(0);
    expect(
      bytes
        .subarray(8, 8 + headerBytes)
        .toString()
        .trimEnd(),
    ).toBe(
      '{"__metadata__":{"a":"1","b":"2"},' +
        '"10":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},' +
        '"9":{"dtype":"I32","shape":[],"data_offsets":[16,20]},' +
        '"a.weight":{"dtype":"F32","shape":[3],"data_offsets":[20,32]},' +
        '"b.weight":{"dtype":"F16","shape":[2,2],"data_offsets":[32,40]},' +
        '"c":{"dtype":"BF16","shape":[0,4],"data_offsets":[40,40]}}',
    );
    expect(bytes.length).toBe(8 + headerBytes + 40);
    expect(bytes.readBigInt64LE(8 + headerBytes)).toBe(-5n);
    expect(bytes.readUInt16LE(8 + headerBytes + 32)).toBe(0x3c00);
  });

  test("a file without tensors is read and written", async () => {
    const path = join(folder, "none.safetensors");
    await writeSafetensors(path, []);
    expect((await openSafetensors(path)).tensors.size).toBe(0);
  });

  test("a view into a larger array is written without its neighbours", async () => {
    const path = join(folder, "view.safetensors");
    const data = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
    await writeSafetensors(path, [{ name: "v", dtype: "F32", shape: [2], data }]);
    expect([...(await readTensor(await openSafetensors(path), "v"))]).toEqual([2, 3]);
  });

  test("all dtypes decode to the numbers they stand for, from unaligned bytes too", () => {
    const unaligned = (bytes: Uint8Array) => {
      const shifted = new Uint8Array(bytes.length + 1);
      shifted.set(bytes, 1);
      return shifted.subarray(1);
    };
    const bytesOf = (array: ArrayBufferView) => unaligned(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    expect([...decodeToFloat32(bytesOf(Float64Array.of(0.5, -1e300)), "F64")]).toEqual([0.5, -Infinity]);
    expect([...decodeToFloat32(bytesOf(Float32Array.of(0.25)), "F32")]).toEqual([0.25]);
    expect([...decodeToFloat32(bytesOf(Uint16Array.of(0x3c00)), "F16")]).toEqual([1]);
    expect([...decodeToFloat32(bytesOf(Uint16Array.of(0x3f80)), "BF16")]).toEqual([1]);
    expect([...decodeToFloat32(bytesOf(BigInt64Array.of(-3n, 2n ** 40n)), "I64")]).toEqual([-3, 2 ** 40]);
    expect([...decodeToFloat32(bytesOf(Int32Array.of(-3)), "I32")]).toEqual([-3]);
    expect([...decodeToFloat32(bytesOf(Int16Array.of(-3)), "I16")]).toEqual([-3]);
    expect([...decodeToFloat32(bytesOf(Int8Array.of(-3)), "I8")]).toEqual([-3]);
    expect([...decodeToFloat32(bytesOf(BigUint64Array.of(2n ** 63n, 5n)), "U64")]).toEqual([2 ** 63, 5]);
    expect([...decodeToFloat32(bytesOf(Uint32Array.of(3_000_000_000)), "U32")]).toEqual([3_000_000_000]);
    expect([...decodeToFloat32(bytesOf(Uint16Array.of(65_535)), "U16")]).toEqual([65_535]);
    expect([...decodeToFloat32(Uint8Array.of(200), "U8")]).toEqual([200]);
    expect([...decodeToFloat32(Uint8Array.of(0, 1, 2), "BOOL")]).toEqual([0, 1, 1]);
    expect([...decodeToFloat32(Uint8Array.of(0x38), "F8_E4M3")]).toEqual([1]);
    expect([...decodeToFloat32(Uint8Array.of(0x3c), "F8_E5M2")]).toEqual([1]);
    expect(() => decodeToFloat32(new Uint8Array(3), "F16")).toThrow("no whole number");
  });
});

describe("refusing to write", () => {
  test("a value that float16 cannot hold is refused by the tensor's name, and nothing is left behind", async () => {
    const path = join(folder, "overflow.safetensors");
    const wide = { name: "up.weight", shape: [2], data: Float32Array.of(1, -65505) };
    const error = await refusal(writeSafetensors(path, [{ ...wide, dtype: "F16" }]));
    expect(error.message).toContain('"up.weight" holds -65505 at position 1');
    expect(
      (await refusal(writeSafetensors(path, [{ ...wide, dtype: "BF16", data: Float32Array.of(0, 3.4e38) }]))).message,
    ).toContain("bfloat16");
    expect((await readdir(folder)).filter((name) => name.includes("overflow"))).toEqual([]);
    await writeSafetensors(path, [{ ...wide, dtype: "F32" }]);
  });

  test("names given twice, wrong sizes and arrays of the wrong kind are bugs, said before any file is made", async () => {
    const path = join(folder, "bug.safetensors");
    const tensor: TensorToWrite = { name: "t", dtype: "F32", shape: [1], data: Float32Array.of(1) };
    await expect(writeSafetensors(path, [tensor, tensor])).rejects.toThrow("given twice");
    await expect(writeSafetensors(path, [{ ...tensor, name: "__metadata__" }])).rejects.toThrow("reserved");
    await expect(writeSafetensors(path, [{ ...tensor, shape: [2] }])).rejects.toThrow("needs 2 values, got 1");
    await expect(writeSafetensors(path, [{ ...tensor, data: Int32Array.of(1) }])).rejects.toThrow("holds a Int32Array");
    expect((await readdir(folder)).filter((name) => name.includes("bug"))).toEqual([]);
  });
});

describe("a header that lies", () => {
  const f32 = (shape: unknown, offsets: unknown) => ({ dtype: "F32", shape, data_offsets: offsets });
  const lies: readonly (readonly [lie: string, header: unknown, dataBytes: number, says: string])[] = [
    ["bad JSON", '{"a": ', 0, "not JSON"],
    ["invalid UTF-8", Buffer.from('{"\xff":1}', "latin1"), 0, "not JSON"],
    ["an array", "[]", 0, "does not begin with {"],
    ["leading space", " {}", 0, "does not begin with {"],
    ["text after the object", "{} {}", 0, "not JSON"],
    ["overlap", { a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, 12, 'tensor "b" overlaps the one before it by 4 bytes'],
    ["gap", { a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, 12, 'gap of 4 bytes before tensor "b"'],
    ["gap at the start", { a: f32([1], [4, 8]) }, 8, 'gap of 4 bytes before tensor "a"'],
    ["offsets past the end", { a: f32([4], [0, 16]) }, 12, "but the file has"],
    ["bytes left over", { a: f32([1], [0, 4]) }, 12, "8 bytes after its last tensor"],
    ["data without tensors", {}, 4, "4 bytes after its last tensor"],
    ["end before begin", { a: f32([1], [4, 0]) }, 4, "ends before it begins"],
    ["negative offset", { a: f32([1], [-4, 0]) }, 4, "no valid offsets"],
    ["one offset", { a: f32([1], [4]) }, 4, "no valid offsets: [4]"],
    ["no offsets", { a: { dtype: "F32", shape: [1] } }, 4, "no valid offsets: missing"],
    ["fractional shape", { a: f32([1.5], [0, 6]) }, 6, "no valid shape"],
    ["negative shape", { a: f32([-1, -1], [0, 4]) }, 4, "no valid shape"],
    ["shape is text", { a: f32("1", [0, 4]) }, 4, 'no valid shape: "1"'],
    ["shape times dtype is not the bytes", { a: f32([2], [0, 4]) }, 4, "which takes 8 bytes, but has 4"],
    ["sizes whose product overflows", { a: f32([2 ** 40, 2 ** 40], [0, 0]) }, 0, "bytes, but has 0"],
    ["unknown dtype", { a: { dtype: "F31", shape: [1], data_offsets: [0, 4] } }, 4, 'unknown dtype: "F31"'],
    ["dtype from Object.prototype", { a: { dtype: "toString", shape: [1], data_offsets: [0, 4] } }, 4, "unknown dtype"],
    ["tensor is a number", { a: 5 }, 4, "described by 5"],
    ["metadata value is a number", { __metadata__: { rank: 4 } }, 0, 'metadata "rank" is 4, not a string'],
    ["metadata is text", { __metadata__: "x" }, 0, "__metadata__ is not an object"],
    [
      "a name twice",
      '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      0,
      '"a" twice',
    ],
    ["a metadata key twice", '{"__metadata__":{"k":"{\\"","k":"2"}}', 0, '"k" twice'],
  ];
  test.each(lies)("is refused: %s", async (_lie, header, dataBytes, says) => {
    const error = await refusal(openSafetensors(await writeRaw("lie.safetensors", header, dataBytes)));
    expect(error.message).toContain("lie.safetensors");
    expect(error.message).toContain(says);
    expect(error.fix).toBeDefined();
  });

  test("equal names in different objects and marks inside strings are no lie", async () => {
    const header = { __metadata__: { a: '"}{:\\', dtype: "\\" }, a: { dtype: "U8", shape: [0], data_offsets: [0, 0] } };
    const file = await openSafetensors(await writeRaw("sound.safetensors", header, 0));
    expect(file.metadata).toEqual(header.__metadata__);
  });

  test("a name like __proto__ is a name like any other", async () => {
    const header = '{"__metadata__":{"__proto__":"m"},"__proto__":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}';
    const file = await openSafetensors(await writeRaw("proto.safetensors", header, 0));
    expect(file.tensors.get("__proto__")?.dtype).toBe("U8");
    expect(Object.entries(file.metadata)).toEqual([["__proto__", "m"]]);
  });

  test("header lengths that cannot be true are refused before anything is allocated", async () => {
    const path = join(folder, "length.safetensors");
    const cases: readonly (readonly [bytes: Buffer, says: string])[] = [
      [Buffer.alloc(0), "it has 0 bytes"],
      [Buffer.alloc(7), "it has 7 bytes"],
      [Buffer.alloc(8), "too short for any JSON"],
      [Buffer.from([200, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d]), "200 bytes long, but the file has 10"],
      [Buffer.from([255, 255, 255, 255, 255, 255, 255, 255, 0x7b, 0x7d]), "18446744073709551615 bytes long; the format allows"],
      [Buffer.from("version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"],
      [Buffer.from("PK\x03\x04 and so on"), "a zip file or a PyTorch"],
      [Buffer.from("<!DOCTYPE html><html>"), "a web page"],
    ];
    for (const [bytes, says] of cases) {
      await writeFile(path, bytes);
      expect((await refusal(openSafetensors(path))).message).toContain(says);
    }
  });

  test("missing files, folders and files that shrink later are named", async () => {
    expect((await refusal(openSafetensors(join(folder, "absent")))).message).toContain("There is no file");
    expect((await refusal(openSafetensors(folder))).message).toContain("is not a file");
    const loop = join(folder, "loop");
    await symlink(loop, loop);
    expect((await refusal(openSafetensors(loop))).message).toContain("Cannot read");
    const path = await writeRaw("shrinks.safetensors", { a: f32([4], [0, 16]) }, 16);
    const file = await openSafetensors(path);
    await truncate(path, 70);
    expect((await refusal(readTensor(file, "a"))).message).toContain("shorter");
    expect(() => readTensorSync(file, "a")).toThrow("shorter");
    await expect(readTensor(file, "nothing")).rejects.toThrow('no tensor "nothing"');
  });
});
