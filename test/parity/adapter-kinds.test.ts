/** Adapters of every kind against what LyCORIS and PEFT themselves do to each layer. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { readBiasDelta, readDelta } from "../../src/lora/delta.ts";
import type { AdapterBase } from "../../src/lora/layout.ts";
import { openAdapter, type OpenedModule } from "../../src/lora/open.ts";
import { parseUnetConfig } from "../../src/models/unet/config.ts";

const folder = path.join(import.meta.dirname, "fixtures/adapter-kinds");
const baseFolder = path.join(import.meta.dirname, "fixtures/unet-sdxl");

let base: AdapterBase;
let readBaseWeight: (module: OpenedModule) => Promise<Float32Array>;
beforeAll(async () => {
  const unet = parseUnetConfig(JSON.parse(await readFile(path.join(baseFolder, "config.json"), "utf8")));
  const weights = await openSafetensors(path.join(baseFolder, "weights.safetensors"));
  base = { family: "sdxl", unet, weights: new Map([...weights.tensors].map(([name, entry]) => [`unet.${name}`, entry])) };
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
