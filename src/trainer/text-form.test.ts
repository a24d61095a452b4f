/** Captions of several chunks and clip skip, on toy bases: what is encoded, cached, fed and told. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BaseModel, TextForm } from "../checkpoints/base.ts";
import { openBase } from "../checkpoints/open-base.ts";
import { openCache } from "../dataset/cache.ts";
import type { Engine } from "../engines/engine.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import { Graph } from "../graph/graph.ts";
import { clipText } from "../models/clip/model.ts";
import { createParams } from "../nn/params.ts";
import { createToy, type Toy } from "../../test/toy-run.ts";
import type { ToyFamily } from "../../test/toy-base.ts";
import { createEncoder, type EncodedText, requireFloats, textFeeds, tokenise } from "./encode.ts";
import { sampleImages, type SampleOptions } from "./sample-images.ts";
import { chunksFor, longestCaption, textFormOf, unseenText } from "./text-form.ts";
import { createWeightStore, type WeightStore } from "./weights.ts";

/** The toy's text encoders have 16 positions, and every letter is a token. */
const [length, room, width] = [16, 14, 16];
/** 30 tokens: two chunks and a part of the third. */
const long = "abcdefghijklmnopqrstuvwxyz wxyz";

describe.each(["sd15", "sdxl"] as const)("captions of a base of the %s kind", (family: ToyFamily) => {
  let toy: Toy;
  let base: BaseModel;
  let engine: Engine;
  let weights: WeightStore;
  beforeAll(async () => {
    toy = await createToy(family);
    base = await openBase(toy.baseFolder, { hashCacheFile: undefined });
    engine = await createOrtEngine({ threads: 1 });
    weights = createWeightStore(engine, base);
  });
  afterAll(async () => {
    await engine.dispose();
    await rm(toy.folder, { recursive: true });
  });

  const form = (chunks: number, clipSkip = family === "sdxl" ? 2 : 1): TextForm => ({ chunks, clipSkip });

  async function encode(caption: string, textForm: TextForm): Promise<EncodedText & { readonly made: number }> {
    const cache = await openCache(join(toy.folder, "cache"), { onDamaged: () => undefined });
    const encoder = createEncoder({ base, weights, cache, settings: { alphaAsMask: false }, form: textForm });
    const text = await encoder.text(caption);
    await encoder.dispose();
    return { ...text, made: encoder.counts.made };
  }

  /** One chunk of one encoder, with nothing of ours but the network: the states that the UNet takes, [length, width], and the pooled text. */
  async function encodeAlone(encoder: number, inputIds: Int32Array) {
    const part = base.textEncoders[encoder];
    if (!part) throw new Error(`a text encoder ${encoder} needed`);
    const graph = new Graph();
    const ids = graph.feed("ids", [1, length], "int32");
    const out = clipText(
      createParams(graph, part.name),
      { inputIds: ids, eosRows: graph.feed("eos", [1], "int32") },
      part.config,
    );
    const states = family === "sdxl" ? out.hiddenStates.at(-2) : out.lastHiddenState;
    if (!states) throw new Error("a layer needed");
    graph.fetches.set("states", states);
    if (out.textEmbeds) graph.fetches.set("pooled", out.textEmbeds);
    const eos = part.config.projectionDim === undefined ? {} : { eos: Int32Array.of(inputIds.indexOf(part.tokenizer.eosId)) };
    const run = await weights.compile(graph, "alone");
    const result = await run.run({ ids: inputIds, ...eos });
    await run.dispose();
    return { states: requireFloats(result.states, "states"), pooled: result.pooled };
  }

  /** What stands at each place of the text, for all encoders side by side. */
  async function composeByHand(caption: string, chunks: number): Promise<number[]> {
    const rows: number[][] = Array.from({ length: chunks * room + 2 }, () => []);
    for (const [i, ids] of tokenise(base, caption, { chunks }).entries()) {
      const states: Float32Array[] = [];
      for (let c = 0; c < chunks; c++) states.push((await encodeAlone(i, ids.slice(c * length, (c + 1) * length))).states);
      const place = (chunk: number, at: number): number[] => [...(states[chunk]?.subarray(at * width, (at + 1) * width) ?? [])];
      rows[0]?.push(...place(0, 0));
      for (let t = 0; t < chunks * room; t++) rows[1 + t]?.push(...place(Math.floor(t / room), 1 + (t % room)));
      rows.at(-1)?.push(...place(chunks - 1, length - 1));
    }
    return rows.flat();
  }

  test("a caption of three chunks has the states of its chunks alone, and the first one's pooled text", async () => {
    const { textEmbeddings, pooled } = await encode(long, form(3));
    const composed = await composeByHand(long, 3);
    expect(textEmbeddings).toHaveLength(composed.length);
    const worst = Math.max(...composed.map((value, i) => Math.abs(value - (textEmbeddings[i] ?? NaN))));
    expect(worst).toBeLessThan(1e-5);
    if (family === "sd15") return;
    const [ids] = tokenise({ textEncoders: base.textEncoders.slice(1) }, long, { chunks: 3 });
    const alone = requireFloats((await encodeAlone(1, (ids ?? new Int32Array()).slice(0, length))).pooled, "pooled");
    expect(Math.max(...alone.map((value, i) => Math.abs(value - (pooled?.[i] ?? NaN))))).toBeLessThan(1e-5);
  });

  test("a caption of one chunk has the very bytes of the encoders' own output", async () => {
    const { textEmbeddings } = await encode("a fox", form(1));
    expect([...textEmbeddings]).toEqual(await composeByHand("a fox", 1));
  });

  test("the cache keeps the forms of a caption apart, and knows each again", async () => {
    const forms = [form(1), form(2), ...(family === "sd15" ? [form(1, 2), form(2, 2)] : [])];
    const lengths: number[] = [];
    for (const textForm of forms) {
      const { textEmbeddings, made } = await encode("kept apart", textForm);
      lengths.push(textEmbeddings.length);
      expect(made).toBe(1);
    }
    const [one = 0, two = 0] = lengths;
    expect(two / one).toBe((2 * room + 2) / length);
    for (const textForm of forms) expect((await encode("kept apart", textForm)).made).toBe(0);
  });

  test("ids are fed chunk by chunk, and each caption's first end token is pooled", () => {
    const ids = ["a", long].map((caption) => tokenise(base, caption, { chunks: 3 }));
    const joined = base.textEncoders.map((_, i) => Int32Array.from(ids.flatMap((row) => [...(row[i] ?? [])])));
    const feeds = textFeeds(base, joined, { chunks: 3 });
    expect(feeds["inputIds.text_encoder"]).toHaveLength(2 * 3 * length);
    // "a" ends at place 2 of the first row; the long one fills the fourth.
    expect(feeds["eosRows.text_encoder_2"]).toEqual(family === "sdxl" ? Int32Array.of(2, 3 * length + 15) : undefined);
  });

  test("the fewest chunks that hold a text are found, and what does not fit into the most is named", () => {
    const tokens = (count: number): string => "a".repeat(count);
    expect([0, 1, 14, 15, 28, 29, 42, 43].map((count) => chunksFor(base, [tokens(count)]))).toEqual([1, 1, 1, 2, 2, 3, 3, 3]);
    expect(longestCaption(base, ["a fox", long, ""])).toBe(30);
    expect(unseenText(base, long, { chunks: 2 })).toBe("wxyz");
    expect(unseenText(base, long, { chunks: 3 })).toBe("");
  });

  test("a prompt is drawn with as many chunks as it needs; one that is cut short is told of", async () => {
    const drawn = async (choices: Partial<SampleOptions>) => {
      const warnings: string[] = [];
      const [picture] = await sampleImages({
        base,
        createEngine: () => createOrtEngine({ threads: 1 }),
        adapters: [],
        prompts: [long],
        negativePrompt: "",
        seed: 1,
        steps: 1,
        guidance: 2,
        sampler: "euler",
        widthPx: 32,
        heightPx: 32,
        onWarning: (message) => warnings.push(message),
        ...choices,
      });
      return { pixels: [...(picture?.data ?? [])], warnings };
    };
    const fitting = await drawn({});
    expect(fitting).toEqual(await drawn({ maxCaptionTokens: 42 }));
    expect(fitting.warnings).toEqual([]);
    const cut = await drawn({ maxCaptionTokens: 28 });
    expect(cut.pixels).not.toEqual(fitting.pixels);
    expect(cut.warnings).toEqual(['The prompt is longer than the 28 tokens that are read; what is not seen: "wxyz".']);
    await expect(drawn({ maxCaptionTokens: 75 })).rejects.toMatchObject({ fix: "Give 14, 28 or 42." });
    if (family === "sdxl") await expect(drawn({ clipSkip: 1 })).rejects.toThrow("cannot be read with a clip skip of 1");
    else expect((await drawn({ clipSkip: 2 })).pixels).not.toEqual(fitting.pixels);
  });

  test("settings of another version, or of a base that reads other lengths, are refused", () => {
    expect(textFormOf(base, { maxCaptionTokens: 28, clipSkip: 1 })).toEqual({ chunks: 2, clipSkip: 1 });
    for (const maxCaptionTokens of [75, 0, 56, NaN]) {
      expect(() => textFormOf(base, { maxCaptionTokens, clipSkip: 1 })).toThrow("which does not fit this base");
    }
  });
});
