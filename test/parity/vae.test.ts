/** The autoencoder against diffusers' numbers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { add, exp, mean, mul, square, sub } from "../../src/graph/build.ts";
import { parseVaeConfig, type VaeConfig } from "../../src/models/vae/config.ts";
import { listVaeParameters, vaeDecode, vaeEncode } from "../../src/models/vae/model.ts";
import { createParams } from "../../src/nn/params.ts";
import {
  createFedGraph,
  expectOutput,
  expectWeightGradients,
  fetchGradients,
  meanSquaredError,
  openFixture,
  runOnce,
  tensorOf,
  type Fixture,
  type Tensors,
} from "./fixture.ts";

interface VaeCase {
  readonly train: { readonly klWeight: number; readonly loss: number };
  readonly gradientNorms: Readonly<Record<string, number>>;
}

describe.each(["vae", "vae-plain"])("%s", (name) => {
  let fixture: Fixture<VaeCase>;
  let config: VaeConfig;
  let tensors: Tensors;
  beforeAll(async () => {
    fixture = await openFixture(name, "vae", (json) => listVaeParameters(parseVaeConfig(json)));
    config = parseVaeConfig(fixture.config);
    tensors = await fixture.tensors("case");
  });
  afterAll(() => fixture.engine.dispose());

  test.each(["even", "odd"])("mean and log variance of a picture of %s size are diffusers'", async (size) => {
    const { graph, feed } = createFedGraph(tensors);
    const moments = vaeEncode(createParams(graph, "vae"), feed(`encode.${size}.picture`), config);
    graph.fetches.set("mean", moments.mean);
    graph.fetches.set("logvar", moments.logvar);
    const actual = await runOnce(fixture.engine, graph, tensors);
    for (const part of ["mean", "logvar"] as const) {
      const expected = tensorOf(tensors, `encode.${size}.${part}`);
      expect(moments[part].shape).toEqual(expected.shape);
      expectOutput(actual[part], expected.data);
    }
  });

  test.each(["even", "odd"])("the picture of latents of %s size is diffusers'", async (size) => {
    const { graph, feed } = createFedGraph(tensors);
    const picture = vaeDecode(createParams(graph, "vae"), feed(`decode.${size}.latents`), config);
    graph.fetches.set("picture", picture);
    const expected = tensorOf(tensors, `decode.${size}.picture`);
    expect(picture.shape).toEqual(expected.shape);
    const actual = await runOnce(fixture.engine, graph, tensors);
    expectOutput(actual.picture, expected.data);
  });

  test("the training loss and the gradient of every weight are PyTorch's", async () => {
    const { graph, feed } = createFedGraph(tensors);
    const params = createParams(graph, "vae");
    const picture = feed("encode.even.picture");
    const { mean: mu, logvar } = vaeEncode(params, picture, config);
    const latents = add(mu, mul(exp(mul(logvar, 0.5)), feed("train.noise")));
    const divergence = mul(sub(add(square(mu), exp(logvar)), add(logvar, 1)), 0.5);
    const loss = add(
      meanSquaredError(vaeDecode(params, latents, config), picture),
      mul(mean(divergence), fixture.case.train.klWeight),
    );
    fetchGradients(graph, loss, "vae.");
    const actual = await runOnce(fixture.engine, graph, tensors);

    expectOutput(actual.loss, [fixture.case.train.loss]);
    await expectWeightGradients(fixture, "vae", actual, fixture.case.gradientNorms);
  });
});
