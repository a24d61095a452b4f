/** Which file is what: namings, families, kinds and layers, told by keys and shapes alone. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normal } from "../diffusion/philox.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { readDelta, readLowRank } from "./delta.ts";
import { openAdapter } from "./open.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-open-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

type Tensors = Readonly<Record<string, readonly number[]>>;

async function write(tensors: Tensors, metadata: Record<string, string> = {}): Promise<string> {
  const path = join(folder, "file.safetensors");
  const list = Object.entries(tensors).map(([name, shape], step) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = shape.length === 0 ? Float32Array.of(2) : normal({ seed: 3, purpose: "init", step }, count);
    return { name, dtype: "F32", shape, data } as const;
  });
  await writeSafetensors(path, list, metadata);
  return path;
}

const query = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"; // 640 x 640 in both families
const key = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"; // 640 x 2048 in SDXL, 640 x 768 in SD 1.5
const text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";

const plain = (name: string, width = 2048): Tensors => ({
  [`${name}.lora_down.weight`]: [2, width],
  [`${name}.lora_up.weight`]: [640, 2],
  [`${name}.alpha`]: [],
});

describe("openAdapter", () => {
  it.each([
    ["Kohya's SGM blocks", plain("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"), "kohya-sgm", "sdxl", key],
    ["Kohya's diffusers blocks", plain("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", 768), "kohya-diffusers", "sd15", key],
    ["SGM blocks of SD 1.5", plain("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 768), "kohya-sgm", "sd15", key],
    ["PEFT", { [`${key}.lora_A.weight`]: [2, 2048], [`${key}.lora_B.weight`]: [640, 2] }, "peft", "sdxl", key],
    ["PEFT with its default adapter's name", { [`${key}.lora_A.default.weight`]: [2, 2048], [`${key}.lora_B.default.weight`]: [640, 2] }, "peft", "sdxl", key],
    ["PEFT on its own", { [`base_model.model.${key.slice(5)}.lora_A.weight`]: [2, 2048], [`base_model.model.${key.slice(5)}.lora_B.weight`]: [640, 2] }, "peft", "sdxl", key],
    ["diffusers' attention processors", { [`${key.replace("to_k", "processor.to_k_lora.down.weight")}`]: [2, 768], [`${key.replace("to_k", "processor.to_k_lora.up.weight")}`]: [640, 2] }, "peft", "sd15", key],
    ["diffusers' output processor", { [`${key.replace("to_k", "processor.to_out_lora.down.weight")}`]: [2, 640], [`${key.replace("to_k", "processor.to_out_lora.up.weight")}`]: [640, 2], ...peftKey(768) }, "peft", "sd15", key.replace("to_k", "to_out.0")],
    ["diffusers' linear layers", { [`${text}.lora_linear_layer.down.weight`]: [2, 768], [`${text}.lora_linear_layer.up.weight`]: [768, 2], ...peftKey(768) }, "peft", "sd15", text],
    ["LyCORIS on its own", plain("lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"), "lycoris", "sdxl", key],
    ["the original model's names", plain("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k"), "native", "sdxl", key],
  ] as const)("reads %s", async (_, tensors, naming, family, path) => {
    const adapter = await openAdapter(await write(tensors));
    expect(adapter).toMatchObject({ naming, family, layout: "published", unread: [] });
    expect(adapter.modules.map((module) => module.path)).toContain(path);
  }); // prettier-ignore

  it.each([
    ["lora_unet_double_blocks_0_img_attn_qkv", "kohya-sgm"],
    ["transformer.single_transformer_blocks.0.attn.to_q", "peft"],
    ["diffusion_model.double_blocks.0.img_attn.qkv", "native"],
  ])("knows %s as Flux", async (name, naming) => {
    const tensors = { [`${name}.lora_A.weight`]: [2, 8], [`${name}.lora_B.weight`]: [8, 2] };
    expect(await openAdapter(await write(tensors))).toMatchObject({ family: "flux", naming, layout: undefined });
  });

  it("names and metadata tell the family where layers are alike in both", async () => {
    const both = { [`${query}.lora_A.weight`]: [2, 640], [`${query}.lora_B.weight`]: [640, 2] };
    const familyOf = async (metadata: Record<string, string>): Promise<string> =>
      (await openAdapter(await write(both, metadata))).family;
    expect(await familyOf({})).toBe("unknown");
    expect(await familyOf({ ss_base_model_version: "sdxl_base_v1-0" })).toBe("sdxl");
    expect(await familyOf({ "modelspec.architecture": "stable-diffusion-v1/lora" })).toBe("sd15");
  });

  it("block numbers of another model's layout are not taken for SDXL's: one layer that does not fit is enough", async () => {
    const small = plain("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 256);
    const adapter = await openAdapter(await write(small, { ss_base_model_version: "sdxl_base_v1-0" }));
    expect(adapter).toMatchObject({ family: "sdxl", layout: undefined, modules: [{ path: undefined, shape: [640, 256] }] });
  });

  it("alphas come from the tensor, from diffusers' LoraConfig with its patterns, or are missing and mean the scale 1", async () => {
    const config = { "unet.r": 2, "unet.lora_alpha": 6, "unet.alpha_pattern": { "attn1.to_q": 8 } };
    const both = { ...peftKey(2048), [`${query}.lora_A.weight`]: [2, 640], [`${query}.lora_B.weight`]: [640, 2] };
    const scalesOf = async (path: string): Promise<unknown> =>
      Object.fromEntries(
        (await openAdapter(path)).modules.map(({ path: layer, alpha, scale }) => [layer?.slice(-4), [alpha, scale]]),
      );
    expect(await scalesOf(await write(both, { lora_adapter_metadata: JSON.stringify(config) }))).toEqual({
      to_k: [6, 3],
      to_q: [8, 4],
    });
    expect(await scalesOf(await write(both))).toEqual({ to_k: [undefined, 1], to_q: [undefined, 1] });
    expect(await scalesOf(await write(plain(key)))).toEqual({ to_k: [2, 1] });
    const stabilised = JSON.stringify({ "unet.lora_alpha": 6, "unet.use_rslora": true });
    expect(await scalesOf(await write(peftKey(2048), { lora_adapter_metadata: stabilised }))).toEqual({
      to_k: [6 * Math.SQRT2, (6 * Math.SQRT2) / 2],
    });
  });

  it.each([
    [{ "lora_unet_a.oft_blocks": [2, 4, 4] }, "not supported: OFT or BOFT (first key: lora_unet_a.oft_blocks)"],
    [{ "model.diffusion_model.out.2.weight": [4, 4] }, "is no adapter (first key: model.diffusion_model.out.2.weight)"],
    [{ "lora_unet_a.alpha": [] }, "is no adapter (first key: lora_unet_a.alpha)"],
    [{ "lora_unet_a.lora_up.weight": [4, 2], "lora_unet_a.hada_w1_a": [4, 2] }, "cannot both belong to lora_unet_a"],
    [{}, "holds no tensors"],
  ] as readonly (readonly [Tensors, string])[])("refuses %j", async (tensors, message) => {
    await expect(openAdapter(await write(tensors))).rejects.toThrow(message);
  }); // prettier-ignore
});

function peftKey(width: number): Tensors {
  return { [`${key}.lora_A.weight`]: [2, width], [`${key}.lora_B.weight`]: [640, 2] };
}

describe("readDelta against loops", () => {
  /** The file's only module, and its parts as functions of their indices. */
  async function open(tensors: Tensors) {
    const path = await write(Object.fromEntries(Object.entries(tensors).map(([part, shape]) => [`layer.${part}`, shape])));
    const adapter = await openAdapter(path);
    const [module] = adapter.modules;
    if (!module) throw new Error("a module needed");
    // writeSafetensors orders by name; `write` drew by the order given.
    const parts = Object.entries(tensors).map(([, shape], step) => {
      const data = normal(
        { seed: 3, purpose: "init", step },
        shape.reduce((product, size) => product * size, 1),
      );
      return (...indices: number[]): number =>
        data[indices.reduce((at, index, axis) => at * (shape[axis] ?? 1) + index, 0)] ?? NaN;
    });
    return { adapter, module, parts };
  }

  const sum = (count: number, term: (i: number) => number): number =>
    Array.from({ length: count }, (_, i) => term(i)).reduce((a, b) => a + b, 0);

  async function expectDelta(
    tensors: Tensors,
    shape: readonly number[],
    element: (parts: ((...at: number[]) => number)[]) => (o: number, i: number, y: number, x: number) => number,
  ) {
    const { adapter, module, parts } = await open(tensors);
    expect(module.shape).toEqual(shape);
    const [outputs = 0, inputs = 0, height = 1, width = 1] = shape;
    const at = element(parts);
    const expected: number[] = [];
    for (let o = 0; o < outputs; o++) for (let i = 0; i < inputs; i++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) expected.push(at(o, i, y, x)); // prettier-ignore
    const delta = await readDelta(adapter, module);
    expect(delta.length).toBe(expected.length);
    delta.forEach((value, i) => expect(value).toBeCloseTo(expected[i] ?? NaN, 4));
  }

  it("LoRA, with alpha / rank", () =>
    expectDelta({ "lora_down.weight": [4, 5], "lora_up.weight": [3, 4], alpha: [] }, [3, 5], ([down = absent, up = absent]) => (o, i) => 0.5 * sum(4, (r) => up(o, r) * down(r, i)))); // prettier-ignore

  it("LoCon with a middle", () =>
    expectDelta({ "lora_down.weight": [2, 5, 1, 1], "lora_mid.weight": [2, 2, 3, 3], "lora_up.weight": [3, 2, 1, 1] }, [3, 5, 3, 3], ([down = absent, mid = absent, up = absent]) => (o, i, y, x) => sum(2, (m) => sum(2, (n) => up(o, m) * mid(m, n, y, x) * down(n, i))))); // prettier-ignore

  it("LoHa", () =>
    expectDelta({ hada_w1_a: [3, 2], hada_w1_b: [2, 5], hada_w2_a: [3, 2], hada_w2_b: [2, 5] }, [3, 5], ([a1 = absent, b1 = absent, a2 = absent, b2 = absent]) => (o, i) => sum(2, (r) => a1(o, r) * b1(r, i)) * sum(2, (r) => a2(o, r) * b2(r, i)))); // prettier-ignore

  it("LoKr of a convolution with one factor in two", () =>
    expectDelta({ lokr_w1: [2, 3], lokr_w2_a: [4, 2], lokr_w2_b: [2, 5, 3, 3] }, [8, 15, 3, 3], ([w1 = absent, a = absent, b = absent]) => (o, i, y, x) => w1(Math.floor(o / 4), Math.floor(i / 5)) * sum(2, (r) => a(o % 4, r) * b(r, i % 5, y, x)))); // prettier-ignore

  it("a middle is worked into down, so that two matrices remain", async () => {
    const { adapter, module } = await open({ "lora_down.weight": [2, 5, 1, 1], "lora_mid.weight": [2, 2, 3, 3], "lora_up.weight": [3, 2, 1, 1] }); // prettier-ignore
    expect(await readLowRank(adapter, module)).toMatchObject({
      down: { shape: [2, 5, 3, 3] },
      up: { shape: [3, 2, 1, 1] },
      scale: 1,
    });
  });

  it("DoRA brings each output of the sum to its magnitude, and says so when it has no base", async () => {
    const { adapter, module } = await open({ "lora_down.weight": [2, 5], "lora_up.weight": [3, 2], dora_scale: [3, 1] });
    const base = Float32Array.from({ length: 15 }, (_, i) => i + 1);
    const delta = await readDelta(adapter, module, () => Promise.resolve(base));
    const magnitudes = normal({ seed: 3, purpose: "init", step: 2 }, 3);
    for (let o = 0; o < 3; o++) {
      const length = Math.hypot(...Array.from({ length: 5 }, (_, i) => (base[o * 5 + i] ?? NaN) + (delta[o * 5 + i] ?? NaN)));
      expect(length).toBeCloseTo(Math.abs(magnitudes[o] ?? NaN), 4);
    }
    await expect(readDelta(adapter, module)).rejects.toMatchObject({ fix: "Name the base model: --base." });
  });

  it.each<[string, Tensors, string]>([
    ["factors of two widths", { hada_w1_a: [3, 2], hada_w1_b: [3, 5], hada_w2_a: [3, 2], hada_w2_b: [2, 5] }, "2 columns meet 3 rows, of w1a [3, 2]"],
    ["a factor that is missing", { lokr_w1: [2, 2], lokr_w2_a: [4, 2] }, "layer has w1, w2a, but no w2b"],
  ])("refuses %s", async (_, tensors, message) => {
    const { adapter, module } = await open(tensors);
    await expect(readDelta(adapter, module)).rejects.toThrow(message);
  }); // prettier-ignore
});

/** Stands for a part that every test gives. */
const absent = (): number => NaN;
