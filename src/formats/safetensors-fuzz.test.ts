/**
 * Safetensors under fire: sound files are made, then damaged in every way that files are; each is read whole or refused in one
 * sentence. Seeded, so that every run has the same cases; a failure prints the smallest case it can find.
 */
import fc from "fast-check";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { DTYPE_BYTES, parseHeader, type SafetensorsDType, type SafetensorsHeader } from "./safetensors-header.ts";
import { openSafetensors, readTensor, readTensorSync, writeSafetensors } from "./safetensors.ts";

const seed = 20261124;
const PATH = "fuzzed.safetensors";
const dtypes = Object.keys(DTYPE_BYTES) as SafetensorsDType[];

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-fuzz-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A header as its members, so that a damaged one can say what no object can: a key twice, `__proto__`, numbers beyond any double. */
interface Member {
  readonly key: string;
  /** JSON text of the value, by field; `raw` replaces all of it. */
  readonly dtype: string;
  readonly shape: string;
  readonly offsets: string;
  readonly raw?: string;
}

interface SoundFile {
  readonly members: readonly Member[];
  readonly metadata: readonly (readonly [key: string, value: string])[];
  readonly dataBytes: number;
}

const anyName = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: "binary", maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("__proto__", "constructor", "toString", "10", "", "a.weight", "a\nb", "\u009b31m", "\u2028"),
  },
);
const tensorName = anyName.filter((name) => name !== "__metadata__");
const anyShape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });

const soundFile: fc.Arbitrary<SoundFile> = fc
  .record({
    tensors: fc.uniqueArray(fc.record({ key: tensorName, dtype: fc.constantFrom(...dtypes), shape: anyShape }), {
      selector: ({ key }) => key,
      maxLength: 5,
    }),
    metadata: fc.uniqueArray(fc.tuple(anyName, fc.string({ unit: "binary", maxLength: 12 })), {
      selector: ([key]) => key,
      maxLength: 3,
    }),
  })
  .map(({ tensors, metadata }) => {
    let end = 0;
    const members = tensors.map(({ key, dtype, shape }): Member => {
      const begin = end;
      end += shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
      return { key, dtype: JSON.stringify(dtype), shape: JSON.stringify(shape), offsets: `[${begin},${end}]` };
    });
    return { members, metadata, dataBytes: end };
  });

function memberText({ key, dtype, shape, offsets, raw }: Member): string {
  const fields = [
    ["dtype", dtype],
    ["shape", shape],
    ["data_offsets", offsets],
  ].flatMap(([name, text]) => (text === "" ? [] : [`"${name}":${text}`]));
  return `${JSON.stringify(key)}:${raw ?? `{${fields.join(",")}}`}`;
}

function metadataText(entries: SoundFile["metadata"]): string {
  return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
}

function headerText({ members, metadata }: Pick<SoundFile, "members" | "metadata">): string {
  const first = metadata.length === 0 ? [] : [`"__metadata__":${metadataText(metadata)}`];
  return `{${[...first, ...members.map(memberText)].join(",")}}`;
}

/** Reads a header that lies before `dataBytes` of data, in memory. */
function parse(text: string | Uint8Array, dataBytes: number): SafetensorsHeader | UserError {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  try {
    const header = parseHeader(PATH, bytes, 8 + bytes.length, 8 + bytes.length + dataBytes);
    checkConsistent(header, 8 + bytes.length, 8 + bytes.length + dataBytes);
    return header;
  } catch (error) {
    return checkRefusal(error, PATH);
  }
}

/** What was read covers the file's data exactly, so that reading all of it never takes more than the file. */
function checkConsistent({ tensors, metadata }: SafetensorsHeader, dataStart: number, fileBytes: number): void {
  let position = dataStart;
  for (const [name, entry] of tensors) {
    const size = entry.shape.reduce((product, length) => product * length, DTYPE_BYTES[entry.dtype]);
    if (entry.name !== name || entry.offset !== position || entry.byteLength !== size || size < 0) {
      throw new Error(`not consistent: ${JSON.stringify(entry)} at ${position}`);
    }
    position += size;
  }
  if (position !== fileBytes) throw new Error(`not consistent: ${position} of ${fileBytes} bytes`);
  if (Object.values(metadata).some((value) => typeof value !== "string")) throw new Error("metadata is not text");
}

/** One sentence that names the file, short and safe to print, and what to do; anything else is a crash. */
function checkRefusal(error: unknown, path: string): UserError {
  if (!(error instanceof UserError)) throw error;
  const { message, fix } = error;
  const isSentence = message.includes(path) && message.endsWith(".") && message.length < path.length + 700;

  if (!isSentence || /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(message) || fix === undefined) {
    throw new Error(`not one sentence: ${JSON.stringify(message.slice(0, 2000))}`);
  }
  return error;
}

/** A name as messages show it. */
function shown(name: string): string {
  const escape = (mark: string) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(name).replace(/[\u007f-\u009f\u2028\u2029]/g, escape);
}

function nest(depth: number, left: string, right: string, core: string): string {
  return left.repeat(depth) + core + right.repeat(depth);
}

/** JSON text of something that no field of a header may be. */
const junk = fc.oneof(
  fc.constantFrom("null", "true", "{}", '""', '"\\u0000\\n"', "-1", "1.5", "1e400", "-1e400", "9007199254740993", "1e21"),
  fc.constantFrom('{"length":1,"0":4}', '{"__proto__":[4]}', '[["4"]]', "[null]", '["4"]', "[1e400]", "[-1]", "[0.5]"),
  fc.integer({ min: 1, max: 30 }).map((depth) => nest(depth, '{"a":', "}", "1")),
  fc.integer({ min: 2, max: 30 }).map((depth) => nest(depth, "[", "]", "")),
  fc.integer({ min: 1, max: 300 }).map((length) => `"${"x".repeat(length)}"`),
  fc.json({ maxDepth: 4 }).filter((text) => !text.startsWith("[")),
);
const badDtype = fc.oneof(junk, fc.constantFrom('"F31"', '"f32"', '"toString"', '"__proto__"', '"F32\\u0000"', '["F32"]'));
const badShape = fc.oneof(
  junk,
  fc.constantFrom("[9007199254740992]", "[4294967296,4294967296,4294967296]", '{"0":1}', "[3037000500,3037000500]"),
  fc.integer({ min: 2, max: 30 }).map((length) => `[7${",7".repeat(length)}]`),
  fc.integer({ min: 2, max: 100 }).map((length) => `[${"4503599627370496,".repeat(length)}1]`),
);
const badOffsets = fc.oneof(
  junk,
  fc.constantFrom("[]", "[0]", "[0,1,2]", "[-8,0]", "[8,0]", "[0,9007199254740993]", "[0,1e300]", '["0","4"]', "[9,9,9]"),
  fc.tuple(fc.integer({ min: -20, max: 2000 }), fc.integer({ min: -20, max: 2 ** 40 })).map((pair) => JSON.stringify(pair)),
);

/** A file and one damage to its header. */
type Damage = (
  file: SoundFile,
  member: Member,
  text: string,
) => {
  readonly members: readonly Member[];
  readonly metadata?: SoundFile["metadata"];
  /** The damaged header is never sound, and the message names the member's key. */
  readonly names?: boolean;
};

const replaceIn = (file: SoundFile, member: Member, change: Partial<Member>) => ({
  members: file.members.map((other) => (other === member ? { ...other, ...change } : other)),
});

const damages: Readonly<Record<string, { readonly text: fc.Arbitrary<string>; readonly damage: Damage }>> = {
  dtype: { text: badDtype, damage: (file, member, dtype) => ({ ...replaceIn(file, member, { dtype }), names: true }) },
  shape: { text: badShape, damage: (file, member, shape) => ({ ...replaceIn(file, member, { shape }), names: true }) },
  offsets: { text: badOffsets, damage: (file, member, offsets) => replaceIn(file, member, { offsets }) },
  value: {
    text: junk.filter((text) => !text.startsWith("{")),
    damage: (file, member, raw) => ({ ...replaceIn(file, member, { raw }), names: true }),
  },
  "a field less": {
    text: fc.constantFrom("dtype", "shape", "offsets"),
    damage: (file, member, field) => ({ ...replaceIn(file, member, { [field]: "" }), names: true }),
  },
  "a key twice": {
    text: fc.constant(""),
    damage: (file, member) => ({ members: [...file.members, member], names: true }),
  },
  "an entry less": {
    text: fc.constant(""),
    damage: (file, member) => ({ members: file.members.filter((other) => other !== member) }),
  },
  "bytes owned twice": {
    text: fc.constant(""),
    damage: (file, member) => ({ members: [...file.members, { ...member, key: `${member.key}'` }] }),
  },
  "a name of another's": {
    text: fc.constantFrom("__proto__", "constructor", "__metadata__"),
    damage: (file, member, key) => replaceIn(file, member, { key }),
  },
};

const damaged = fc.record({
  file: soundFile.filter(({ members }) => members.length > 0),
  at: fc.nat(),
  change: fc.oneof(...Object.entries(damages).map(([name, { text }]) => text.map((value) => ({ name, value })))),
});

describe("headers in memory", () => {
  test("2,000 sound headers are read as they were written", () => {
    const property = fc.property(soundFile, (file) => {
      const header = parse(headerText(file), file.dataBytes);
      if (header instanceof UserError) throw header;
      expect([...header.tensors.keys()].sort()).toEqual(file.members.map(({ key }) => key).sort());
      expect(Object.entries(header.metadata).sort()).toEqual([...file.metadata].sort());
    });
    fc.assert(property, { seed, numRuns: 2000 });
  });

  test("10,000 headers with a wrong field, key or entry are read or refused, and the tensor at fault is named", () => {
    const refused: Record<string, number> = {};
    const property = fc.property(damaged, ({ file, at, change: { name, value } }) => {
      const member = file.members[at % file.members.length];
      const result = member && damages[name]?.damage(file, member, value);
      if (!member || !result) throw new Error(`no damage ${name}`);
      const answer = parse(headerText({ metadata: file.metadata, ...result }), file.dataBytes);
      if (answer instanceof UserError) refused[name] = (refused[name] ?? 0) + 1;
      if (result.names && !(answer instanceof UserError)) throw new Error(`${name}: was read`);
      if (result.names && answer instanceof UserError) expect(answer.message).toContain(shown(member.key));
    });
    fc.assert(property, { seed, numRuns: 10_000 });
    // Each kind of damage was tried often, and mostly found out.
    expect(Object.keys(refused).sort()).toEqual(Object.keys(damages).sort());
    expect(Math.min(...Object.values(refused))).toBeGreaterThan(200);
  });

  test("1,000 kinds of metadata that are no text are refused, and the key is named", () => {
    const value = junk.filter((text) => !text.startsWith('"'));
    const property = fc.property(soundFile, anyName, value, (file, key, text) => {
      const others = file.metadata.filter(([name]) => name !== key);
      const inside = [...others.map(([name, own]) => `${JSON.stringify(name)}:${JSON.stringify(own)}`)];
      const metadata = `{${[...inside, `${JSON.stringify(key)}:${text}`].join(",")}}`;
      const members = file.members.map((member) => `,${memberText(member)}`).join("");
      const answer = parse(`{"__metadata__":${metadata}${members}}`, file.dataBytes);
      expect(answer instanceof UserError && answer.message).toContain(`metadata ${shown(key)} is `);
      const whole = parse(`{"__metadata__":${text.startsWith("{") ? "[]" : text}${members}}`, file.dataBytes);
      expect(whole instanceof UserError && whole.message).toContain("__metadata__ is not an object");
    });
    fc.assert(property, { seed, numRuns: 1000 });
  });

  test("6,000 headers with changed, added and lost bytes are read or refused", () => {
    const byte = fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(...new TextEncoder().encode('{}[]",:\\0123456789-eE.')),
    );
    const edit = fc.record({ at: fc.nat(), byte, kind: fc.constantFrom("change", "insert", "remove") });
    let refused = 0;
    const property = fc.property(soundFile, fc.array(edit, { minLength: 1, maxLength: 4 }), (file, edits) => {
      const bytes = [...new TextEncoder().encode(headerText(file))];
      for (const { at, byte: value, kind } of edits) {
        const place = at % (bytes.length + 1);
        bytes.splice(place, kind === "insert" ? 0 : 1, ...(kind === "remove" ? [] : [value]));
      }
      if (parse(Uint8Array.from(bytes), file.dataBytes) instanceof UserError) refused++;
    });
    fc.assert(property, { seed, numRuns: 6000 });
    expect(refused).toBeGreaterThan(4000);
  });
});

describe("headers without end", () => {
  const deep = [nest(50_000, "[", "]", ""), nest(50_000, '{"a":', "}", "1"), `"${"x".repeat(1_000_000)}"`];
  const long = [`[${"1,".repeat(50_000)}0]`, `[${"4503599627370496,".repeat(50_000)}1]`, `[${"[],".repeat(50_000)}1]`];
  const sound: Member = { key: "a", dtype: '"U8"', shape: "[4]", offsets: "[0,4]" };
  test.each([...deep, ...long].map((text) => [text.slice(0, 12), text.length, text] as const))(
    "%s... of %d characters is refused in any place",
    (_start, _length, text) => {
      for (const field of ["dtype", "shape", "offsets", "raw"] as const) {
        const answer = parse(headerText({ metadata: [], members: [{ ...sound, [field]: text }] }), 4);
        expect(answer instanceof UserError && answer.message).toContain('tensor "a"');
      }
      for (const metadata of text.startsWith('"') ? [text, `{${text}:1}`] : [text, `{"a":${text}}`]) {
        expect(parse(`{"__metadata__":${metadata}}`, 0)).toBeInstanceOf(UserError);
      }
    },
  );

  test("20,000 tensors, and a key of a million characters, are read", () => {
    const members = Array.from({ length: 20_000 }, (_, i) => ({ ...sound, key: `${i}`, offsets: `[${4 * i},${4 * i + 4}]` }));
    expect(parse(headerText({ metadata: [], members }), 80_000)).toHaveProperty("tensors.size", 20_000);
    const key = '\\"'.repeat(500_000);
    expect(parse(headerText({ metadata: [], members: [{ ...sound, key }] }), 4)).toHaveProperty("tensors.size", 1);
  });
});

describe("files", () => {
  const path = (name: string): string => join(folder, name);

  function fileBytes(file: SoundFile): Buffer {
    const header = Buffer.from(headerText(file));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, Buffer.alloc(file.dataBytes, 0x3c)]);
  }

  /** Opens a file and reads all of it. */
  async function readWhole(name: string): Promise<SafetensorsHeader | UserError> {
    try {
      const file = await openSafetensors(path(name));
      for (const tensor of file.tensors.keys()) readTensorSync(file, tensor);
      return file;
    } catch (error) {
      return checkRefusal(error, name);
    }
  }

  test("3,000 files cut short, longer, with a lying length or another byte: what is no sound file any more is refused", async () => {
    const lengths = fc.oneof(
      fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 63n, 2n ** 63n - 1n, 2n ** 64n - 1n, 100_000_001n, 100_000_000n),
      fc.bigInt({ min: 0n, max: 400n }),
    );
    const spoil = fc.oneof(
      fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
      fc.record({ kind: fc.constant("longer" as const), extra: fc.uint8Array({ minLength: 1, maxLength: 20 }) }),
      fc.record({ kind: fc.constant("length" as const), length: lengths }),
      fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) }),
      fc.record({ kind: fc.constant("nothing" as const) }),
    );
    const property = fc.asyncProperty(soundFile, spoil, async (file, how) => {
      let bytes = fileBytes(file);
      // A changed byte may be harmless, such as one in the metadata.
      const mayBeSound = how.kind === "flip";
      const isSound = how.kind === "nothing" || (how.kind === "length" && how.length === bytes.readBigUInt64LE());
      if (how.kind === "cut") bytes = bytes.subarray(0, how.at % bytes.length);
      if (how.kind === "longer") bytes = Buffer.concat([bytes, how.extra]);
      if (how.kind === "flip") bytes[how.at % bytes.length] = how.byte;
      if (how.kind === "length") bytes.writeBigUInt64LE(how.length);
      await writeFile(path(PATH), bytes);
      const answer = await readWhole(PATH);
      if (!mayBeSound && answer instanceof UserError === isSound)
        throw new Error(`${how.kind}: ${isSound ? "refused" : "read"}`);
    });
    await fc.assert(property, { seed, numRuns: 3000 });
  });

  test("a header of 2 GB or 2^63 bytes in a file that could hold it is refused without being read", async () => {
    const handle = await open(path("huge.safetensors"), "w");
    await handle.truncate(3 * 2 ** 30); // Sparse: takes no room on the disk.
    for (const length of [2n ** 31n, 2n ** 63n, 90_000_000n]) {
      const start = Buffer.alloc(8);
      start.writeBigUInt64LE(length);
      await handle.write(start, 0, 8, 0);
      const before = process.resourceUsage().maxRSS;
      expect(await readWhole("huge.safetensors")).toBeInstanceOf(UserError);
      // In kilobytes; the least of the three would be 90 MB.
      expect(process.resourceUsage().maxRSS - before).toBeLessThan(30_000);
    }
    await handle.close();
  });

  test("whatever is written is read back equal, in every dtype that is written", async () => {
    const float = fc.float({ noNaN: true });
    const tensor = fc.constantFrom("F32", "F16", "BF16", "I32", "I64").chain((dtype) =>
      anyShape.chain((shape) => {
        const count = shape.reduce((product, size) => product * size, 1);
        const values = dtype.startsWith("I") ? fc.integer() : float.map((value) => roundTo(dtype, value));
        return fc.array<number>(values, { minLength: count, maxLength: count }).map((numbers) => ({
          dtype: dtype,
          shape,
          data: dtype.startsWith("I") ? Int32Array.from(numbers) : Float32Array.from(numbers),
        }));
      }),
    );
    const tensors = fc.dictionary(tensorName, tensor, { maxKeys: 4 });
    const metadata = fc.dictionary(anyName, fc.string({ unit: "binary" }), { maxKeys: 3 });
    const property = fc.asyncProperty(tensors, metadata, async (contents, notes) => {
      const list = Object.entries(contents).map(([name, own]) => ({ name, ...own }));
      await writeSafetensors(path("round.safetensors"), list, notes);
      const file = await openSafetensors(path("round.safetensors"));
      expect(Object.entries(file.metadata).sort()).toEqual(Object.entries(notes).sort());
      expect(file.tensors.size).toBe(list.length);
      for (const { name, dtype, shape, data } of list) {
        expect(file.tensors.get(name)).toMatchObject({ dtype, shape });
        expect(await readTensor(file, name)).toEqual(Float32Array.from(data));
      }
    });
    await fc.assert(property, { seed, numRuns: 500 });
  });
});

/** The nearest number towards zero that a type holds: fewer bits of the fraction, and a range. */
function roundTo(dtype: string, value: number): number {
  if (dtype === "F32") return value;
  const [fractionBits, least, greatest] = dtype === "F16" ? [10, -14, 65504] : [7, -126, 3.3895313892515355e38];
  const exponent = Math.max(least, Math.floor(Math.log2(Math.abs(value) || 1)));
  const unit = 2 ** (exponent - fractionBits);
  const kept = Math.trunc(value / unit) * unit;
  return Math.min(greatest, Math.max(-greatest, kept));
}
