/**
 * Damaged adapter files and base models, made at random from a seed: each is opened or refused with a UserError that names the file,
 * whatever is wrong with it.
 */
import fc from "fast-check";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BaseModel } from "../src/checkpoints/base.ts";
import { openBase } from "../src/checkpoints/open-base.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { UserError } from "../src/errors.ts";
import { openSafetensors, readTensor, type TensorToWrite, writeSafetensors } from "../src/formats/safetensors.ts";
import { adapterShapes } from "../src/lora/inject.ts";
import { kohyaName } from "../src/lora/names.ts";
import { readAdapter } from "../src/lora/read.ts";
import { writeToyBase } from "./toy-base.ts";

const seed = 20261124;
const UNET = "unet/diffusion_pytorch_model.safetensors";
const unhashed = { hashCacheFile: undefined };

let folder = "";
let base: BaseModel;
let sd15: BaseModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-damaged-"));
  base = await openBase(await writeToyBase(join(folder, "sdxl"), "sdxl"), unhashed);
  sd15 = await openBase(await writeToyBase(join(folder, "sd15"), "sd15"), unhashed);
});
afterAll(() => rm(folder, { recursive: true }));

const file = (name: string): string => join(folder, name);

/** What came of an attempt; any other error than a UserError about the file is thrown on. */
async function outcome(attempt: Promise<unknown>, name: string): Promise<UserError | "read"> {
  try {
    await attempt;
    return "read";
  } catch (error) {
    if (!(error instanceof UserError) || !error.message.includes(name) || error.fix === undefined) throw error;
    return error;
  }
}

const layers = [
  "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
  "unet.down_blocks.0.resnets.0.conv1",
  "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj",
];

/** A LoRA of rank 2 on three layers. */
function soundAdapter(): TensorToWrite[] {
  return layers.flatMap((path) => {
    const shapes = adapterShapes(base.weights.get(`${path}.weight`)?.shape ?? [], 2);
    const name = kohyaName(path, base);
    const matrices = (["down", "up"] as const).map((part): TensorToWrite => {
      const count = shapes[part].reduce((product, size) => product * size, 1);
      const data = Float32Array.from({ length: count }, (_, i) => Math.sin(i));
      return { name: `${name}.lora_${part}.weight`, dtype: "F32", shape: shapes[part], data };
    });
    return [...matrices, { name: `${name}.alpha`, dtype: "F32", shape: [], data: Float32Array.of(2) } as const];
  });
}

function filled(name: string, shape: readonly number[]): TensorToWrite {
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, dtype: "F32", shape, data: new Float32Array(count).fill(0.5) };
}

describe("an adapter file", () => {
  test("that is sound is read", async () => {
    await writeSafetensors(file("sound.safetensors"), soundAdapter());
    expect(await outcome(readAdapter(file("sound.safetensors"), base), "sound.safetensors")).toBe("read");
  });

  test("cut short or made longer at 200 places is refused", async () => {
    await writeSafetensors(file("whole.safetensors"), soundAdapter());
    const whole = await readFile(file("whole.safetensors"));
    const property = fc.asyncProperty(fc.nat({ max: whole.length - 1 }), fc.boolean(), async (length, isLonger) => {
      const extra = Buffer.alloc(length + 1);
      await writeFile(file("cut.safetensors"), isLonger ? Buffer.concat([whole, extra]) : whole.subarray(0, length));
      expect(await outcome(readAdapter(file("cut.safetensors"), base), "cut.safetensors")).toBeInstanceOf(UserError);
    });
    await fc.assert(property, { seed, numRuns: 200 });
  });

  test("with a matrix of another shape, a key less or more, or a number that is none is refused 80 times", async () => {
    const tensors = soundAdapter();
    const damage = fc.record({
      at: fc.nat({ max: tensors.length - 1 }),
      kind: fc.constantFrom("shape", "key", "nan", "less", "dtype"),
      shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
      key: fc.string({ unit: "binary", maxLength: 40 }),
      bad: fc.constantFrom(NaN, Infinity, -Infinity),
    });
    const seen = new Set<string>();
    const property = fc.asyncProperty(damage, async ({ at, kind, shape, key, bad }) => {
      const spoilt = tensors.flatMap((tensor, i): TensorToWrite[] => {
        if (i !== at) return [tensor];
        const { name, data } = tensor;
        if (kind === "less") return name.endsWith(".alpha") ? [filled(`${name}.x`, [])] : [];
        if (kind === "key") return [{ ...tensor, name: key }];
        if (kind === "dtype") return [{ ...tensor, dtype: "I32", data: new Int32Array(data.length) }];
        if (kind === "nan") return [{ ...tensor, data: Float32Array.from(data, (value, j) => (j === 0 ? bad : value)) }];
        return [filled(name, [...shape, 41])]; // No layer of the toy has this size.
      });
      await writeSafetensors(file("spoilt.safetensors"), spoilt);
      const result = await outcome(readAdapter(file("spoilt.safetensors"), base), "spoilt.safetensors");
      // Whole numbers are numbers: it is enough that they do no harm.
      if (kind !== "dtype") expect(result, kind).toBeInstanceOf(UserError);
      seen.add(kind);
    });
    await fc.assert(property, { seed, numRuns: 80 });
    expect(seen.size).toBe(5);
  });

  test("with an unknown dtype is refused", async () => {
    const header = JSON.stringify({ "lora_unet_x.lora_down.weight": { dtype: "F12", shape: [2], data_offsets: [0, 3] } });
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    await writeFile(file("f12.safetensors"), Buffer.concat([length, Buffer.from(header), Buffer.alloc(3)]));
    expect(await outcome(readAdapter(file("f12.safetensors"), base), "f12.safetensors")).toMatchObject({
      message: expect.stringContaining('"lora_unet_x.lora_down.weight" has an unknown dtype: "F12"') as string,
    });
  });

  test("of another family, or of two families at once, is refused", async () => {
    // SD 1.5 has one text encoder, lora_te; SDXL's two are lora_te1 and lora_te2.
    const foreign = [filled("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", [2, 16])];
    foreign.push(filled("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", [16, 2]));
    for (const [name, tensors, other] of [
      ["foreign.safetensors", foreign, base],
      ["mixed.safetensors", [...soundAdapter(), ...foreign], base],
      ["for-sdxl.safetensors", soundAdapter(), sd15],
    ] as const) {
      await writeSafetensors(file(name), tensors);
      expect(await outcome(readAdapter(file(name), other), name)).toBeInstanceOf(UserError);
    }
  });

  test("with a key of 300,000 letters is refused without comparing it with every layer", async () => {
    await writeSafetensors(file("long.safetensors"), [filled(`${"x".repeat(300_000)}.lora_down.weight`, [2])]);
    expect(await outcome(readAdapter(file("long.safetensors"), base), "long.safetensors")).toBeInstanceOf(UserError);
  });
});

describe("a base model", () => {
  const copy = async (name: string): Promise<string> => {
    await cp(join(folder, "sdxl"), file(name), { recursive: true });
    return file(name);
  };

  test("whose weights are cut short at 30 places is refused", async () => {
    const path = join(await copy("cut-base"), UNET);
    const whole = await readFile(path);
    const property = fc.asyncProperty(fc.nat({ max: whole.length - 1 }), async (length) => {
      await writeFile(path, whole.subarray(0, length));
      expect(await outcome(openBase(file("cut-base"), unhashed), "cut-base")).toBeInstanceOf(UserError);
    });
    await fc.assert(property, { seed, numRuns: 30 });
  });

  test("with a weight of another shape or less is refused, and the weight is named", async () => {
    const path = join(await copy("spoilt-base"), UNET);
    const opened = await openSafetensors(join(folder, "sdxl", UNET));
    const tensors: TensorToWrite[] = [];
    for (const { name, shape } of opened.tensors.values())
      tensors.push({ name, dtype: "F32", shape, data: await readTensor(opened, name) });
    const property = fc.asyncProperty(fc.nat({ max: tensors.length - 1 }), fc.boolean(), async (at, isMissing) => {
      const name = tensors[at]?.name ?? "";
      const others = tensors.filter((_, i) => i !== at);
      await writeSafetensors(path, isMissing ? others : [...others, filled(name, [3, 5, 7])]);
      expect(await outcome(openBase(file("spoilt-base"), unhashed), "spoilt-base")).toMatchObject({
        message: expect.stringContaining(name) as string,
      });
    });
    await fc.assert(property, { seed, numRuns: 12 });
  });

  test("with an UNet of the other family is refused", async () => {
    const path = await copy("mixed-base");
    await cp(join(folder, "sd15", UNET), join(path, UNET));
    expect(await outcome(openBase(path, unhashed), "mixed-base")).toBeInstanceOf(UserError);
  });

  test("whose weights are whole numbers is refused when they are loaded", async () => {
    await writeSafetensors(file("whole-numbers.safetensors"), [
      { name: "w", dtype: "I32", shape: [2], data: Int32Array.of(1, 2) },
    ]);
    const entry = (await openSafetensors(file("whole-numbers.safetensors"))).tensors.get("w");
    const engine = await createOrtEngine({ threads: 1 });
    const { offset = 0, byteLength = 0 } = entry ?? {};
    const source = { kind: "file", path: file("whole-numbers.safetensors"), offset, byteLength, storedDtype: "I32" } as const;
    const attempt = engine.allocate({ name: "w", shape: [2], dtype: "float32" }, source);
    expect(await outcome(attempt, "whole-numbers.safetensors")).toBeInstanceOf(UserError);
    await engine.dispose();
  });
});
