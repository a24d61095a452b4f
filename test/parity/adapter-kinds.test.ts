/** Adapters of every kind against what LyCORIS and PEFT themselves do to each layer. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { BaseWeight } from "../../src/checkpoints/base.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { readBiasDelta, readDelta } from "../../src/lora/delta.ts";
import { addAdapters } from "../../src/lora/inject.ts";
import type { AdapterBase } from "../../src/lora/layout.ts";
import { openAdapter, type OpenedModule } from "../../src/lora/open.ts";
import { parseUnetConfig, type UnetConfig } from "../../src/models/unet/config.ts";
import { unet } from "../../src/models/unet/model.ts";
import { createParams } from "../../src/nn/params.ts";
import { loadAdapter } from "../../src/trainer/load-adapter.ts";
import { createWeightStore } from "../../src/trainer/weights.ts";
import { createFedGraph, expectOutput, readTensors, tensorOf } from "./fixture.ts";

const folder = path.join(import.meta.dirname, "fixtures/adapter-kinds");
const baseFolder = path.join(import.meta.dirname, "fixtures/unet-sdxl");

let base: AdapterBase & { readonly unet: UnetConfig; readonly weights: ReadonlyMap<string, BaseWeight> };
let readBaseWeight: (module: OpenedModule) => Promise<Float32Array>;
beforeAll(async () => {
  const config = parseUnetConfig(JSON.parse(await readFile(path.join(baseFolder, "config.json"), "utf8")));
  const weights = await openSafetensors(path.join(baseFolder, "weights.safetensors"));
  const sources = [...weights.tensors].map(([name, { shape, offset, byteLength, dtype }]) => {
    const source = { kind: "file", path: weights.path, offset, byteLength, storedDtype: dtype } as const;
    return [`unet.${name}`, { shape, source }] as const;
  });
  base = { family: "sdxl", unet: config, weights: new Map(sources) };
  readBaseWeight = (module) => readTensor(weights, `${module.path?.slice("unet.".length) ?? ""}.weight`);
});

describe.each(["lycoris", "peft", "peft-dora"])("%s", (name) => {
  test("each layer's change is what the library's own forward pass or merge does to it", async () => {
    const adapter = await openAdapter(path.join(folder, `${name}.safetensors`), { base });
    const expected = await openSafetensors(path.join(folder, `${name}-changes.safetensors`));
    const seen: string[] = [];
    for (const module of adapter.modules) {
      const layer = module.path?.slice("unet.".length) ?? "";
      const bias = await readBiasDelta(adapter, module);
      const changes = [["weight", await readDelta(adapter, module, readBaseWeight)] as const, ["bias", bias] as const];
      for (const [part, change] of changes) {
        if (!change) continue;
        seen.push(`${layer}.${part}`);
        expect(distance(change, await readTensor(expected, `${layer}.${part}`)), `${layer}.${part}`).toBeLessThan(2e-6);
      }
    }
    expect(seen.sort()).toEqual([...expected.tensors.keys()].sort());
  });

  test("with the file loaded as for a picture, the UNet predicts what it does in diffusers", async () => {
    const tensors = await readTensors("adapter-kinds", "case");
    const { graph, feed } = createFedGraph(tensors);
    const addedConditions = { textEmbeds: feed("text_embeds"), timeIds: feed("time_ids") };
    const inputs = { sample: feed("sample"), timesteps: feed("timesteps"), encoderHiddenStates: feed("encoder_hidden_states") };
    graph.fetches.set("prediction", unet(createParams(graph, "unet"), { ...inputs, addedConditions }, base.unet));
    const engine = await createOrtEngine({ threads: 1 });
    try {
      const { specs, changes } = await loadAdapter(
        engine,
        base,
        { path: path.join(folder, `${name}.safetensors`), weight: 1 },
        "a",
      );
      const run = await createWeightStore(engine, base, changes).compile(addAdapters(graph, specs), name);
      const feeds = ["sample", "timesteps", "encoder_hidden_states", "text_embeds", "time_ids"];
      const { prediction } = await run.run(Object.fromEntries(feeds.map((key) => [key, tensorOf(tensors, key).data.slice()])));
      expectOutput(prediction, tensorOf(tensors, `output.${name}`).data);
    } finally {
      await engine.dispose();
    }
  });
});

test("what the file holds is told by its keys", async () => {
  const kinds = async (name: string) => {
    const { naming, family, modules, unread } = await openAdapter(path.join(folder, `${name}.safetensors`), { base });
    expect(unread).toEqual([]);
    return { naming, family, kinds: [...new Set(modules.map(({ kind }) => kind))].sort() };
  };
  expect(await kinds("lycoris")).toEqual({
    naming: "lycoris",
    family: "sdxl",
    kinds: ["dora", "full", "loha", "locon", "lokr", "lora"].sort(),
  });
  expect(await kinds("peft")).toEqual({ naming: "peft", family: "sdxl", kinds: ["locon", "lora"] });
  expect(await kinds("peft-dora")).toEqual({ naming: "peft", family: "sdxl", kinds: ["dora"] });
});

/** Relative norm of the difference. */
function distance(got: Float32Array, expected: Float32Array): number {
  expect(got.length).toBe(expected.length);
  let [difference, size] = [0, 0];
  expected.forEach((value, i) => {
    difference += ((got[i] ?? NaN) - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(difference / size);
}
