/** Captions of one to three chunks, and clip skip, against the recipe of sd-scripts run with transformers (interop/fixtures/long_captions.py). */
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TextForm, TextEncoderName, TextEncoderPart } from "../../src/checkpoints/base.ts";
import { buildTextEncoding } from "../../src/checkpoints/conditioning.ts";
import type { Engine, TensorData } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { openSafetensors, type SafetensorsFile } from "../../src/formats/safetensors.ts";
import { parseClipTextConfig } from "../../src/models/clip/config.ts";
import { listClipTextParameters } from "../../src/models/clip/model.ts";
import { createClipTokenizer } from "../../src/models/clip/tokenizer.ts";
import { textFeeds, tokenise } from "../../src/trainer/encode.ts";
import { expectOutput, readTensors, tensorOf, type Tensors } from "./fixture.ts";

interface LongCaptionCase {
  readonly vocab: Readonly<Record<string, number>>;
  readonly captions: readonly string[];
  readonly chunks: number;
}

const folder = path.join(import.meta.dirname, "fixtures/long-captions");
const readJson = (name: string): unknown => JSON.parse(readFileSync(path.join(folder, name), "utf8")) as unknown;
const { vocab, captions, chunks } = readJson("case.json") as LongCaptionCase;

function openEncoder(name: TextEncoderName, padToken: string): TextEncoderPart {
  const config = parseClipTextConfig(readJson(`${name}.json`), name);
  return {
    name,
    config,
    tokenizer: createClipTokenizer({ vocab, merges: "", padToken, maxLength: config.maxPositionEmbeddings }),
  };
}

const first = openEncoder("text_encoder", "<|endoftext|>");
const second = openEncoder("text_encoder_2", "!");
const bases = { sd15: { textEncoders: [first] }, sdxl: { textEncoders: [first, second] } } as const;

describe("captions as sd-scripts reads them", () => {
  let engine: Engine;
  let expected: Tensors;
  beforeAll(async () => {
    engine = await createOrtEngine({ threads: 1 });
    const weights = await openSafetensors(path.join(folder, "weights.safetensors"));
    for (const { name, config } of bases.sdxl.textEncoders) await allocate(engine, weights, name, config);
    expected = await readTensors("long-captions", "case");
  });
  afterAll(() => engine.dispose());

  /** All captions in one batch. */
  async function encode(
    base: { readonly textEncoders: readonly TextEncoderPart[] },
    form: TextForm,
  ): Promise<Record<string, TensorData>> {
    const executable = await engine.compile(buildTextEncoding(base, captions.length, form), { name: "long captions" });
    const rows = captions.map((caption) => tokenise(base, caption, form));
    const ids = base.textEncoders.map((_, i) => Int32Array.from(rows.flatMap((row) => [...(row[i] ?? [])])));
    const result = await executable.run(textFeeds(base, ids, form));
    await executable.dispose();
    return result;
  }

  test("the token ids of every chunk are transformers', for both tokenizers", () => {
    for (const [name, { textEncoders }] of [
      ["first", bases.sd15],
      ["second", { textEncoders: [second] }],
    ] as const) {
      const ids = captions.flatMap((caption) => tokenise({ textEncoders }, caption, { chunks }).flatMap((row) => [...row]));
      expect(ids).toEqual([...tensorOf(expected, `${name}.ids`).data]);
    }
  });

  test.each([1, 2, 3].flatMap((count) => [1, 2].map((clipSkip) => [count, clipSkip] as const)))(
    "SD 1.5, %i chunks, clip skip %i",
    async (count, clipSkip) => {
      const { textEmbeddings } = await encode(bases.sd15, { chunks: count, clipSkip });
      expectOutput(textEmbeddings, tensorOf(expected, `sd15.${count}.skip${clipSkip}`).data);
    },
  );

  test.each([1, 2, 3])("SDXL, %i chunks: states, and the first chunk pooled", async (count) => {
    const { textEmbeddings, pooled } = await encode(bases.sdxl, { chunks: count, clipSkip: 2 });
    expectOutput(textEmbeddings, tensorOf(expected, `sdxl.${count}`).data);
    expectOutput(pooled, tensorOf(expected, `sdxl.${count}.pooled`).data);
  });
});

async function allocate(engine: Engine, weights: SafetensorsFile, name: TextEncoderName, config: TextEncoderPart["config"]) {
  for (const spec of listClipTextParameters(config, name)) {
    const entry = weights.tensors.get(spec.name);
    if (!entry) throw new Error(`long-captions has no weight ${spec.name}`);
    const { offset, byteLength, dtype: storedDtype } = entry;
    await engine.allocate(spec, { kind: "file", path: weights.path, offset, byteLength, storedDtype });
  }
}
