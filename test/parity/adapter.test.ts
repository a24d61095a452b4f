/** Adapter files as diffusers reads them: the stored outputs are of its UNet with a file that `writeFixtureAdapter` wrote. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { adapterBufferNames, addAdapters } from "../../src/lora/inject.ts";
import { readAdapter } from "../../src/lora/read.ts";
import { parseUnetConfig, type UnetConfig } from "../../src/models/unet/config.ts";
import { listUnetParameters, unet } from "../../src/models/unet/model.ts";
import { createParams } from "../../src/nn/params.ts";
import { writeFixtureAdapter } from "./fixture-adapter.ts";
import {
  createFedGraph,
  expectOutput,
  type Fixture,
  openFixture,
  readJson,
  readTensors,
  runOnce,
  tensorOf,
  type Tensors,
} from "./fixture.ts";

interface AdapterCase {
  /** Of the file's tensors, without its metadata. */
  readonly tensorsSha256: string;
  readonly modules: number;
}

describe.each(["sd15", "sdxl"] as const)("an adapter on the UNet of %s", (family) => {
  let fixture: Fixture<unknown>;
  let config: UnetConfig;
  let tensors: Tensors;
  let stored: AdapterCase;
  let folder: string;
  beforeAll(async () => {
    fixture = await openFixture(`unet-${family}`, "unet", (json) => listUnetParameters(parseUnetConfig(json)));
    config = parseUnetConfig(fixture.config);
    tensors = await readTensors(`adapter-${family}`, "case");
    stored = (await readJson(`adapter-${family}`, "case.json")) as AdapterCase;
    folder = await mkdtemp(path.join(tmpdir(), "gesso-adapter-"));
    await writeFixtureAdapter(path.join(folder, "a.safetensors"), family, config);
  });
  afterAll(async () => {
    await fixture.engine.dispose();
    await rm(folder, { recursive: true });
  });

  const read = () => {
    const shapes = listUnetParameters(config).map(({ name, shape }) => [name, { shape }] as const);
    return readAdapter(path.join(folder, "a.safetensors"), { family, unet: config, weights: new Map(shapes) });
  };

  test("is written with the bytes that diffusers was given", async () => {
    const { modules, metadata } = await read();
    expect(modules).toHaveLength(stored.modules);
    expect(metadata.sshs_model_hash).toBe(stored.tensorsSha256);
  });

  test("read back from its file, gives what diffusers' UNet gives with it", async () => {
    const { modules } = await read();
    for (const { path: layer, down, up } of modules) {
      const names = adapterBufferNames({ path: layer });
      await fixture.engine.allocate(
        { name: names.down, shape: down.shape, dtype: "float32" },
        { kind: "data", data: down.data },
      );
      await fixture.engine.allocate({ name: names.up, shape: up.shape, dtype: "float32" }, { kind: "data", data: up.data });
    }
    const { graph, feed } = createFedGraph(tensors);
    const added = config.additionEmbed && { addedConditions: { textEmbeds: feed("text_embeds"), timeIds: feed("time_ids") } };
    const inputs = { sample: feed("sample"), timesteps: feed("timesteps"), encoderHiddenStates: feed("encoder_hidden_states") };
    graph.fetches.set("prediction", unet(createParams(graph, "unet"), { ...inputs, ...added }, config));
    const adapted = addAdapters(graph, modules.map(({ path: layer, rank, alpha }) => ({ path: layer, rank, alpha }))); // prettier-ignore
    const { prediction } = await runOnce(fixture.engine, adapted, tensors);
    expectOutput(prediction, tensorOf(tensors, "output").data);
  });
});
