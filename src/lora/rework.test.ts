import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RandomLayers, writeRandomAdapter } from "../../test/random-adapter.ts";
import { writeToyBase } from "../../test/toy-base.ts";
import type { BaseModel } from "../checkpoints/base.ts";
import { openBase } from "../checkpoints/open-base.ts";
import { readBaseWeight } from "../checkpoints/read-weight.ts";
import { normal } from "../diffusion/philox.ts";
import { UserError } from "../errors.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import { readDelta } from "./delta.ts";
import { createDraft } from "./draft.ts";
import { standardBase } from "./layout.ts";
import { norm } from "./matrix.ts";
import { kohyaName } from "./names.ts";
import { openAdapter } from "./open.ts";
import { mergeAdapters, resizeAdapter, type ReworkOptions } from "./rework.ts";

let root = "";
let base: BaseModel;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-rework-"));
  base = await openBase(await writeToyBase(join(root, "base"), "sdxl"), { hashCacheFile: undefined });
});
afterAll(() => rm(root, { recursive: true }));

const query = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
const conv = "unet.down_blocks.0.resnets.0.conv1";
const text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";
const text2 = "text_encoder_2.text_model.encoder.layers.1.mlp.fc1";
const first: RandomLayers = { [query]: [4, 2], [conv]: [3, 3], [text]: [2, 4] };
const second: RandomLayers = { [query]: [6, 6], [text2]: [5, 1] };

const inside = (name: string): string => join(root, name);
const write = (name: string, layers: RandomLayers, options = {}): Promise<string> =>
  writeRandomAdapter(inside(name), base, layers, options);

/** Options of a rework, with the toy as the base. */
function options(out: string, change: Partial<ReworkOptions> = {}): ReworkOptions {
  const readWeight = (module: { readonly path: string | undefined }): Promise<Float32Array> =>
    readBaseWeight(base, `${module.path}.weight`);
  return { out: inside(out), choice: undefined, version: "0.0.0", base: { layout: base, readWeight }, ...change };
}

/** Every layer's change, by its path. */
async function deltasOf(path: string): Promise<ReadonlyMap<string, Float32Array>> {
  const adapter = await openAdapter(path, { base });
  const readWeight = (module: { readonly path: string | undefined }): Promise<Float32Array> =>
    readBaseWeight(base, `${module.path}.weight`);
  const deltas = new Map<string, Float32Array>();
  for (const module of adapter.modules) deltas.set(module.path ?? module.name, await readDelta(adapter, module, readWeight));
  return deltas;
}

/** The largest relative distance of a layer of `got` from the sum of the sources at their weights; both have the same layers. */
async function distance(got: string, sources: readonly (readonly [path: string, weight: number])[]): Promise<number> {
  const sums = new Map<string, Float64Array>();
  for (const [path, weight] of sources) {
    for (const [layer, delta] of await deltasOf(path)) {
      const sum = sums.get(layer) ?? new Float64Array(delta.length);
      delta.forEach((value, i) => (sum[i] = (sum[i] ?? 0) + weight * value));
      sums.set(layer, sum);
    }
  }
  const deltas = await deltasOf(got);
  expect([...deltas.keys()].sort()).toEqual([...sums.keys()].sort());
  return Math.max(
    ...[...deltas].map(([layer, delta]) => {
      const sum = sums.get(layer) ?? new Float64Array();
      return norm(sum.map((value, i) => value - (delta[i] ?? NaN))) / norm(sum);
    }),
  );
}

describe("mergeAdapters", () => {
  it("does what both do together, with ranks that add up: LoCon, both text encoders, layers that one lacks", async () => {
    const [a, b] = [await write("a.safetensors", first), await write("b.safetensors", second, { seed: 2 })];
    const report = await mergeAdapters([{ path: a, weight: 0.8 }, { path: b, weight: -0.5 }], options("ab.safetensors")); // prettier-ignore
    expect(await distance(inside("ab.safetensors"), [[a, 0.8], [b, -0.5]])).toBeLessThan(1e-6); // prettier-ignore
    expect(report).toMatchObject({
      layers: 4,
      emptyLayers: 0,
      dtype: "float32",
      parts: [
        { part: "text_encoder", layers: 1, greatestRank: 2, reducedLayers: 0, keptEnergy: 1 },
        { part: "text_encoder_2", layers: 1, greatestRank: 5 },
        { part: "unet", layers: 2, leastRank: 3, greatestRank: 10 },
      ],
    });
    expect(report.bytes).toBe((await readFile(inside("ab.safetensors"))).length);
  });

  it("writes the sources' type where they agree", async () => {
    const [a, b] = [await write("h1.safetensors", first, { dtype: "float16" }), await write("h2.safetensors", second, { dtype: "float16" })]; // prettier-ignore
    const report = await mergeAdapters([{ path: a, weight: 0.8 }, { path: b, weight: 0.5 }], options("h.safetensors")); // prettier-ignore
    expect(report.dtype).toBe("float16");
    expect(await distance(inside("h.safetensors"), [[a, 0.8], [b, 0.5]])).toBeLessThan(1e-3); // prettier-ignore
  });

  it("never makes a rank above what the layer is wide, and stays exact", async () => {
    const [a, b] = [await write("w1.safetensors", { [text]: [12, 1] }), await write("w2.safetensors", { [text]: [9, 1] }, { seed: 2 })]; // prettier-ignore
    const report = await mergeAdapters([{ path: a, weight: 1 }, { path: b, weight: 1 }], options("w.safetensors")); // prettier-ignore
    expect(report.parts).toMatchObject([{ greatestRank: 16, reducedLayers: 1 }]);
    expect(await distance(inside("w.safetensors"), [[a, 1], [b, 1]])).toBeLessThan(1e-6); // prettier-ignore
  });

  it("reduced to a rank, keeps what it says it keeps", async () => {
    const [a, b] = [await write("r1.safetensors", { [query]: [6, 6] }), await write("r2.safetensors", { [query]: [6, 6] }, { seed: 2 })]; // prettier-ignore
    const report = await mergeAdapters([{ path: a, weight: 1 }, { path: b, weight: 1 }], options("r.safetensors", { choice: { rank: 4 } })); // prettier-ignore
    const kept = report.parts[0]?.keptEnergy ?? NaN;
    expect(kept).toBeGreaterThan(0.4);
    expect(kept).toBeLessThan(0.95);
    expect(await distance(inside("r.safetensors"), [[a, 1], [b, 1]])).toBeCloseTo(Math.sqrt(1 - kept), 5); // prettier-ignore
  });

  it("names its sources, joins tag clouds and trigger words, and has hashes of its own", async () => {
    const [a, b] = [await write("m1.safetensors", first, { triggerWord: "ink" }), await write("m2.safetensors", second, { triggerWord: "fox" })]; // prettier-ignore
    await mergeAdapters([{ path: a, weight: 0.8 }, { path: b, weight: 1 }], options("m.safetensors")); // prettier-ignore
    const { metadata } = await openSafetensors(inside("m.safetensors"));
    const source = (await openSafetensors(a)).metadata;
    expect(metadata).toMatchObject({
      ss_base_model_version: "sdxl_base_v1-0",
      ss_network_module: "networks.lora",
      ss_network_dim: "Dynamic",
      ss_network_alpha: "1",
      ss_network_args: '{"conv_dim":"3","conv_alpha":"1"}',
      ss_output_name: "m",
      ss_v2: "False",
      ss_tag_frequency: '{"pictures":{"cat":4},"random":{"ink":1,"fox":1}}',
      ss_training_comment: "merged by Gesso: m1.safetensors x 0.8 + m2.safetensors x 1",
      "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
      "modelspec.merged_from": "m1 x 0.8, m2",
      "modelspec.prediction_type": "epsilon",
      "modelspec.resolution": "32x32",
      "modelspec.title": "m",
      "modelspec.trigger_phrase": "ink, fox",
    });
    expect(metadata.sshs_model_hash).toMatch(/^[0-9a-f]{64}$/);
    expect(metadata.sshs_model_hash).not.toBe(source.sshs_model_hash);
    expect(metadata["modelspec.hash_sha256"]).toBe(`0x${metadata.sshs_model_hash}`);
  });

  it("the same sources give the same bytes", async () => {
    const a = await write("s.safetensors", first);
    const [one, two] = ["s1/same.safetensors", "s2/same.safetensors"];
    for (const out of [one, two]) {
      await mkdir(join(inside(out), ".."), { recursive: true });
      await mergeAdapters([{ path: a, weight: 0.8 }], options(out, { choice: { energy: 0.9 } }));
    }
    expect((await readFile(inside(one))).equals(await readFile(inside(two)))).toBe(true);
  });

  /** A LoHa on the query, rank 2. */
  async function writeLoha(name: string): Promise<string> {
    const module = kohyaName(query, base);
    const [outputs = 0, inputs = 0] = base.weights.get(`${query}.weight`)?.shape ?? [];
    const tensor = (part: string, shape: readonly number[], sample: number) =>
      ({ name: `${module}.hada_${part}`, dtype: "F32", shape, data: normal({ seed: 3, purpose: "noise", sample }, (shape[0] ?? 0) * (shape[1] ?? 0)) }) as const; // prettier-ignore
    await writeSafetensors(inside(name), [tensor("w1_a", [outputs, 2], 1), tensor("w1_b", [2, inputs], 2), tensor("w2_a", [outputs, 2], 3), tensor("w2_b", [2, inputs], 4)]); // prettier-ignore
    return inside(name);
  }

  it("approximates a LoHa, whose change has a rank of at most its rank squared", async () => {
    const [a, b] = [await write("l1.safetensors", first), await writeLoha("l2.safetensors")];
    await mergeAdapters([{ path: a, weight: 0.5 }, { path: b, weight: 0.7 }], options("l.safetensors", { choice: { energy: 1 } })); // prettier-ignore
    expect(await distance(inside("l.safetensors"), [[a, 0.5], [b, 0.7]])).toBeLessThan(1e-6); // prettier-ignore
    const report = await resizeAdapter(b, { ...options("l3.safetensors"), choice: { energy: 1 } });
    expect(report.parts).toMatchObject([{ greatestRank: 4 }]);
  });

  it.each([
    ["a LoHa without a word on how closely", async () => [await writeLoha("x1.safetensors")], {}, "is a LoHa, which is no product of two thin matrices"],
    ["a LoHa of an unknown model", async () => [await writeLoha("x2.safetensors")], { base: undefined, choice: { rank: 4 } }, "of a model that is not known"],
    ["weights of zero", async () => [await write("x3.safetensors", first)], {}, "it would change nothing", 0],
    ["numbers that the type cannot hold", async () => [await write("x4.safetensors", first)], { dtype: "float16" }, "is beyond float16", 1e14],
    ["an unknown layer", async () => [await writeRaw("x5.safetensors", "lora_unet_nothing")], {}, "lora_unet_nothing is no layer of its base model"],
    ["names that cannot be matched", async () => [await write("x6.safetensors", first), await writeRaw("x7.safetensors", "unet.down_blocks.1.proj_in")], { base: undefined }, "call layers by different names"],
    ["layers of two shapes", async () => [await write("x8.safetensors", { [query]: [2, 2] }), await writeRaw("x9.safetensors", kohyaName(query, base))], { base: undefined }, "is [32, 32] in"],
    ["a change of a bias", async () => [await writeBias("xb.safetensors")], { choice: { rank: 2 } }, "changes the norm or bias"],
  ] as const)("refuses %s, and leaves no file", async (_, sources, change, message, weight: number = 1) => {
    const paths = await sources();
    const attempt = mergeAdapters(paths.map((path) => ({ path, weight })), options("refused.safetensors", change)); // prettier-ignore
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(UserError);
    expect((await readdir(root)).filter((name) => name.includes("refused"))).toEqual([]);
  }); // prettier-ignore

  async function writeRaw(name: string, module: string): Promise<string> {
    const draft = createDraft({ path: inside(name), dtype: "float32", fixes: { number: "", nothing: "" } });
    const matrix = (shape: readonly number[]) => ({ shape, data: new Float32Array((shape[0] ?? 0) * (shape[1] ?? 0)).fill(1) });
    draft.add({ name: module, layer: module, rank: 2, alpha: 2, down: matrix([2, 7]), up: matrix([9, 2]) });
    await draft.write({ training: { ss_base_model_version: "sdxl_base_v1-0" }, others: () => ({}) });
    return inside(name);
  }

  async function writeBias(name: string): Promise<string> {
    const data = new Float32Array(16).fill(1);
    const key = `${kohyaName(conv, base)}.diff_b`;
    await writeSafetensors(inside(name), [{ name: key, dtype: "F32", shape: [16], data }]);
    return inside(name);
  }

  it("refuses adapters of two families, with a key of each", async () => {
    const paths: string[] = [];
    for (const family of ["sd15", "sdxl"] as const) {
      const path = inside(`${family}.safetensors`);
      const draft = createDraft({ path, dtype: "float16", fixes: { number: "", nothing: "" } });
      const layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k";
      const [outputs = 0, inputs = 0] = standardBase(family).weights.get(`${layer}.weight`)?.shape ?? [];
      const down = { shape: [1, inputs], data: new Float32Array(inputs).fill(1) };
      const up = { shape: [outputs, 1], data: new Float32Array(outputs).fill(1) };
      draft.add({ name: kohyaName(layer, standardBase(family)), layer, rank: 1, alpha: 1, down, up });
      await draft.write({ training: {}, others: () => ({}) });
      paths.push(path);
    }
    const attempt = mergeAdapters(paths.map((path) => ({ path, weight: 1 })), { out: inside("f.safetensors"), choice: undefined, version: "0" }); // prettier-ignore
    await expect(attempt).rejects.toThrow(
      /is for SD 1\.5 \(key lora_unet_mid_block_.*is for SDXL \(key lora_unet_middle_block_1_/s,
    );
  });
});

describe("resizeAdapter", () => {
  it("to its own rank or above, changes no number", async () => {
    const a = await write("full.safetensors", first, { dtype: "float16" });
    await resizeAdapter(a, { ...options("same.safetensors"), choice: { rank: 8 } });
    const [before, after] = [await openSafetensors(a), await openSafetensors(inside("same.safetensors"))];
    expect([...after.tensors.keys()]).toEqual([...before.tensors.keys()]);
    for (const name of before.tensors.keys()) expect(await readTensor(after, name)).toEqual(await readTensor(before, name));
    expect(after.metadata.sshs_model_hash).toBe(before.metadata.sshs_model_hash);
  });

  it("to a lower rank, is smaller and misses exactly what it says", async () => {
    const a = await write("big.safetensors", { [query]: [16, 4] });
    const report = await resizeAdapter(a, { ...options("small.safetensors"), choice: { rank: 3 } });
    expect(report.bytes).toBeLessThan(report.sourceBytes);
    expect(await distance(inside("small.safetensors"), [[a, 1]])).toBeCloseTo(
      Math.sqrt(1 - (report.parts[0]?.keptEnergy ?? 0)),
      5,
    );
    const { metadata } = await openSafetensors(inside("small.safetensors"));
    expect(metadata).toMatchObject({ ss_network_dim: "3", ss_network_alpha: "1", ss_steps: "1" });
    expect(metadata.ss_training_comment).toBe("resized by Gesso: big.safetensors, reduced to at most rank 3");
  });

  it("to an energy, gives each layer the rank that it needs", async () => {
    const a = await write("e.safetensors", { [query]: [16, 4], [conv]: [2, 2], [text]: [8, 8] });
    const report = await resizeAdapter(a, { ...options("es.safetensors"), choice: { energy: 0.9 } });
    expect(report.parts.every(({ keptEnergy }) => keptEnergy >= 0.9)).toBe(true);
    expect(report.parts.find(({ part }) => part === "unet")).toMatchObject({ leastRank: 2 });
    expect(await distance(inside("es.safetensors"), [[a, 1]])).toBeLessThan(Math.sqrt(0.1));
  });

  it("keeps PEFT's names where the model is not known, with the alpha worked into a matrix", async () => {
    const path = inside("peft.safetensors");
    const draft = createDraft({ path, dtype: "float32", style: "peft", fixes: { number: "", nothing: "" } });
    const module = "transformer.transformer_blocks.0.attn.to_q";
    const matrix = (shape: readonly number[], sample: number) => ({ shape, data: normal({ seed: 5, purpose: "noise", sample }, (shape[0] ?? 0) * (shape[1] ?? 0)) }); // prettier-ignore
    draft.add({ name: module, layer: module, rank: 4, alpha: 4, down: matrix([4, 12], 1), up: matrix([10, 4], 2) });
    await draft.write({ training: { ss_base_model_version: "flux1" }, others: () => ({}) });
    await resizeAdapter(path, { out: inside("peft2.safetensors"), version: "0", choice: { energy: 1 } });
    const { tensors, metadata } = await openSafetensors(inside("peft2.safetensors"));
    expect([...tensors.keys()].sort()).toEqual([`${module}.lora_A.weight`, `${module}.lora_B.weight`]);
    expect(metadata.ss_network_module).toBe("networks.lora_flux");
    const [before, after] = [await deltasOf(path), await deltasOf(inside("peft2.safetensors"))];
    const [a = new Float32Array(), b = new Float32Array()] = [before.get(module), after.get(module)];
    expect(norm(a.map((value, i) => value - (b[i] ?? NaN))) / norm(a)).toBeLessThan(1e-6);
  });
});
