/** The denoiser in the shapes of SD 1.5 and SDXL against diffusers' and PyTorch's numbers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decomposeRules, type Composite } from "../../src/graph/decompose.ts";
import type { Graph, Value } from "../../src/graph/graph.ts";
import { optimise } from "../../src/graph/passes.ts";
import type { RematOptions } from "../../src/graph/remat.ts";
import { findTargets, type TargetSet } from "../../src/lora/targets.ts";
import { parseUnetConfig, type UnetConfig } from "../../src/models/unet/config.ts";
import { listUnetParameters, unet } from "../../src/models/unet/model.ts";
import { createParams } from "../../src/nn/params.ts";
import {
  adapterSpecs,
  createFedGraph,
  expectGradientNorms,
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

type Norms = Readonly<Record<string, number>>;
interface UnetCase {
  readonly adapters: AdapterSettings;
  readonly train: { readonly lossEpsilon: number; readonly lossVPrediction: number };
  readonly lora: { readonly lossEpsilon: number; readonly lossVPrediction: number };
  readonly locon: { readonly loss: number };
  readonly gradientNorms: Norms;
  readonly gradientNormsVPrediction: Norms;
  readonly loraGradientNormsVPrediction: Norms;
}

const composites: ReadonlySet<Composite> = new Set(Object.keys(decomposeRules) as Composite[]);

describe.each(["unet-sd15", "unet-sdxl"])("%s", (name) => {
  let fixture: Fixture<UnetCase>;
  let config: UnetConfig;
  let tensors: Tensors;
  beforeAll(async () => {
    fixture = await openFixture(name, "unet", (json) => listUnetParameters(parseUnetConfig(json)));
    config = parseUnetConfig(fixture.config);
    tensors = await fixture.tensors("case");
  });
  afterAll(() => fixture.engine.dispose());

  /** The prediction for the stored inputs whose names start with `kind`, and its distance from a stored target. */
  function build(kind: string, sample: string, target?: string): { graph: Graph; prediction: Value; loss: Value | undefined } {
    const { graph, feed } = createFedGraph(tensors);
    const inputs = {
      sample: feed(`${kind}.${sample}`),
      timesteps: feed(`${kind}.timesteps`),
      encoderHiddenStates: feed(`${kind}.encoder_hidden_states`),
    };
    const added = config.additionEmbed && {
      addedConditions: { textEmbeds: feed(`${kind}.text_embeds`), timeIds: feed(`${kind}.time_ids`) },
    };
    const prediction = unet(createParams(graph, "unet"), { ...inputs, ...added }, config);
    const loss = target === undefined ? undefined : meanSquaredError(prediction, feed(`${kind}.${target}`));
    if (loss) graph.fetches.set("loss", loss);
    return { graph, prediction, loss };
  }

  function buildTraining(target: "noise" | "velocity"): { graph: Graph; loss: Value } {
    const { graph, loss } = build("train", "noisy_latents", target);
    if (!loss) throw new Error("no loss");
    return { graph, loss };
  }

  test.each([
    ["even", "sample", "output"],
    ["odd", "sample", "output"],
    ["train", "noisy_latents", "prediction"],
  ] as const)("the prediction for the %s latents is diffusers'", async (kind, sample, output) => {
    const { graph, prediction } = build(kind, sample);
    graph.fetches.set("prediction", prediction);
    const expected = tensorOf(tensors, `${kind}.${output}`);
    expect(prediction.shape).toEqual(expected.shape);
    const actual = await runOnce(fixture.engine, graph, tensors);
    expectOutput(actual.prediction, expected.data);
  });

  test("the epsilon loss and the gradient of every weight are PyTorch's", async () => {
    const { graph, loss } = buildTraining("noise");
    fetchGradients(graph, loss, "unet.");
    const actual = await runOnce(fixture.engine, graph, tensors);
    expectOutput(actual.loss, [fixture.case.train.lossEpsilon]);
    await expectWeightGradients(fixture, "unet", actual, fixture.case.gradientNorms);
  });

  test("the v loss and its gradients are PyTorch's", async () => {
    const { graph, loss } = buildTraining("velocity");
    fetchGradients(graph, loss, "unet.");
    const actual = await runOnce(fixture.engine, graph, tensors);
    expectOutput(actual.loss, [fixture.case.train.lossVPrediction]);
    expectGradientNorms(actual, fixture.case.gradientNormsVPrediction, (key) => `unet.${key}`);
  });

  test("the epsilon loss with LoRA and the gradient of every adapter are PyTorch's", async () => {
    const { graph } = buildTraining("noise");
    const { actual, expected } = await runAdapters(fixture, "lora", "unet", graph, tensors, fixture.case.adapters);
    expectOutput(actual.loss, [fixture.case.lora.lossEpsilon]);
    expectGradients(actual, expected);
  });

  test("recomputing every residual and transformer block changes no bit of the loss and of the adapters' gradients", async () => {
    const run = async (remat?: RematOptions) => {
      const { graph } = buildTraining("noise");
      const prepare = (step: Graph) => optimise(step, { keep: composites, ...(remat && { remat }) });
      return (await runAdapters(fixture, "lora", "unet", graph, tensors, fixture.case.adapters, prepare)).actual;
    };
    const plain = await run();
    expectOutput(plain.loss, [fixture.case.lora.lossEpsilon]);
    expect(await run({ blocks: "all" })).toEqual(plain);
  });

  test("the v loss with LoRA and the norm of every adapter's gradient are PyTorch's", async () => {
    const { graph } = buildTraining("velocity");
    const { actual } = await runAdapters(fixture, "lora", "unet", graph, tensors, fixture.case.adapters);
    expectOutput(actual.loss, [fixture.case.lora.lossVPrediction]);
    const nameOf = (key: string) => `adapter-lora.unet.${key.replace(/\.grad$/, "")}`;
    expectGradientNorms(actual, fixture.case.loraGradientNormsVPrediction, nameOf);
  });

  test("the loss with adapters on the convolutions and their gradients are PyTorch's, at an odd size", async () => {
    const { graph } = build("odd", "sample", "target");
    const { actual, expected } = await runAdapters(fixture, "locon", "unet", graph, tensors, fixture.case.adapters);
    expectOutput(actual.loss, [fixture.case.locon.loss]);
    expectGradients(actual, expected);
  });

  test("the layers that the reference adapts are those of the target sets", async () => {
    const { graph } = build("even", "sample");
    const pathsOf = (set: TargetSet) => findTargets(graph, set).map(({ path }) => path);
    const stored = async (file: string) =>
      adapterSpecs(await fixture.tensors(file), "unet", fixture.case.adapters).map(({ path }) => path);
    const transformers = await stored("lora");
    expect(pathsOf("attention+ff").toSorted()).toEqual(transformers.toSorted());
    expect(pathsOf("locon").toSorted()).toEqual([...transformers, ...(await stored("locon"))].toSorted());
  });
});
