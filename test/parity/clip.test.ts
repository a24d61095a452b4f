/** The text encoders against transformers' numbers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { add } from "../../src/graph/build.ts";
import type { Graph, Value } from "../../src/graph/graph.ts";
import { parseClipTextConfig, type ClipTextConfig } from "../../src/models/clip/config.ts";
import { clipText, findEosRows, listClipTextParameters } from "../../src/models/clip/model.ts";
import { createParams } from "../../src/nn/params.ts";
import {
  createFedGraph,
  expectGradients,
  expectOutput,
  expectWeightGradients,
  fetchGradients,
  meanSquaredError,
  openFixture,
  runAdapters,
  runOnce,
  tensorOf,
  type AdapterSettings,
  type Fixture,
  type Tensors,
} from "./fixture.ts";

interface ClipCase {
  readonly adapters: AdapterSettings;
  readonly train: { readonly loss: number };
  readonly lora: { readonly loss: number };
  readonly gradientNorms: Readonly<Record<string, number>>;
}

const COMPONENT = "text_encoder";

async function openClip(name: string): Promise<{ fixture: Fixture<ClipCase>; config: ClipTextConfig; tensors: Tensors }> {
  const list = (json: unknown) => listClipTextParameters(parseClipTextConfig(json), COMPONENT);
  const fixture = await openFixture<ClipCase>(name, COMPONENT, list);
  return { fixture, config: parseClipTextConfig(fixture.config), tensors: await fixture.tensors("case") };
}

/** Where the texts of a stored tensor end, as a tensor to feed. */
function eosRowsOf(tensors: Tensors, name: string, config: ClipTextConfig): Tensors {
  const { shape, data } = tensorOf(tensors, name);
  const rows = findEosRows(Int32Array.from(data), shape[1] ?? 0, config);
  return new Map([...tensors, ["eos_rows", { shape: [rows.length], data: Float32Array.from(rows) }]]);
}

async function checkOutputs(
  fixture: Fixture<ClipCase>,
  graph: Graph,
  tensors: Tensors,
  outputs: Record<string, Value | undefined>,
) {
  for (const [name, value] of Object.entries(outputs)) {
    if (!value) throw new Error(`the model gives no ${name}`);
    expect(value.shape).toEqual(tensorOf(tensors, name).shape);
    graph.fetches.set(name, value);
  }
  const actual = await runOnce(fixture.engine, graph, tensors);
  for (const name of Object.keys(outputs)) expectOutput(actual[name], tensorOf(tensors, name).data);
}

/** The loss and the gradients of all weights, then those of the adapters. */
async function checkGradients(fixture: Fixture<ClipCase>, build: () => { graph: Graph; loss: Value }, tensors: Tensors) {
  const plain = build();
  fetchGradients(plain.graph, plain.loss, `${COMPONENT}.`);
  const actual = await runOnce(fixture.engine, plain.graph, tensors);
  expectOutput(actual.loss, [fixture.case.train.loss]);
  await expectWeightGradients(fixture, COMPONENT, actual, fixture.case.gradientNorms);

  const { graph, loss } = build();
  graph.fetches.set("loss", loss);
  const adapted = await runAdapters(fixture, "lora", COMPONENT, graph, tensors, fixture.case.adapters);
  expectOutput(adapted.actual.loss, [fixture.case.lora.loss]);
  expectGradients(adapted.actual, adapted.expected);
}

describe("CLIPTextModel", () => {
  let fixture: Fixture<ClipCase>;
  let config: ClipTextConfig;
  let tensors: Tensors;
  beforeAll(async () => {
    ({ fixture, config, tensors } = await openClip("clip-l"));
  });
  afterAll(() => fixture.engine.dispose());

  test.each([
    ["legacy", 2],
    ["proper", 42],
  ] as const)("hidden states and pooled output are transformers' with the %s end token", async (kind, eosTokenId) => {
    const inputs = eosRowsOf(tensors, `${kind}.input_ids`, { ...config, eosTokenId });
    const { graph, feed } = createFedGraph(inputs);
    const ids = { inputIds: feed(`${kind}.input_ids`, "int32"), eosRows: feed("eos_rows", "int32") };
    const { lastHiddenState, hiddenStates, pooled } = clipText(createParams(graph, COMPONENT), ids, config);
    await checkOutputs(fixture, graph, inputs, {
      [`${kind}.last_hidden_state`]: lastHiddenState,
      [`${kind}.penultimate_hidden_state`]: hiddenStates.at(-2),
      [`${kind}.pooled`]: pooled,
    });
  });

  test("the loss and the gradients of weights and adapters are PyTorch's", async () => {
    const build = () => {
      const { graph, feed } = createFedGraph(tensors);
      const inputs = { inputIds: feed("legacy.input_ids", "int32") };
      const { lastHiddenState } = clipText(createParams(graph, COMPONENT), inputs, config);
      return { graph, loss: meanSquaredError(lastHiddenState, feed("train.target")) };
    };
    await checkGradients(fixture, build, tensors);
  });
});

describe("CLIPTextModelWithProjection", () => {
  let fixture: Fixture<ClipCase>;
  let config: ClipTextConfig;
  let tensors: Tensors;
  beforeAll(async () => {
    ({ fixture, config, tensors } = await openClip("clip-g"));
    tensors = eosRowsOf(tensors, "input_ids", config);
  });
  afterAll(() => fixture.engine.dispose());

  function build() {
    const { graph, feed } = createFedGraph(tensors);
    const inputs = { inputIds: feed("input_ids", "int32"), eosRows: feed("eos_rows", "int32") };
    return { graph, feed, ...clipText(createParams(graph, COMPONENT), inputs, config) };
  }

  test("hidden states and text embeddings are transformers'", async () => {
    const { graph, lastHiddenState, hiddenStates, textEmbeds } = build();
    await checkOutputs(fixture, graph, tensors, {
      last_hidden_state: lastHiddenState,
      penultimate_hidden_state: hiddenStates.at(-2),
      text_embeds: textEmbeds,
    });
  });

  test("the loss and the gradients of weights and adapters are PyTorch's", async () => {
    const buildLoss = () => {
      const { graph, feed, hiddenStates, textEmbeds } = build();
      const [penultimate] = hiddenStates.slice(-2);
      if (!penultimate || !textEmbeds) throw new Error("the model gives no text embeddings");
      const ofHidden = meanSquaredError(penultimate, feed("train.target"));
      return { graph, loss: add(ofHidden, meanSquaredError(textEmbeds, feed("train.target_embeds"))) };
    };
    await checkGradients(fixture, buildLoss, tensors);
  });
});
