import { expect, test } from "vitest";
import { Graph } from "../graph/graph.ts";
import { linear } from "./layers.ts";
import { createParams, listParameters } from "./params.ts";

test("a weight is a buffer named by component and checkpoint key", () => {
  const graph = new Graph();
  const weight = createParams(graph, "unet").at("down_blocks").at(1).at("attn1.to_q").get("weight", [4, 2]);
  expect(weight.node).toMatchObject({ op: "Input", attrs: { kind: "buffer", name: "unet.down_blocks.1.attn1.to_q.weight" } });
});

test("listParameters gives buffers in the order of use, and no feeds", () => {
  const specs = listParameters((graph) => {
    linear(createParams(graph, "layer", "float16"), graph.feed("x", [1, 4], "float16"), 8);
  });
  expect(specs).toEqual([
    { name: "layer.weight", shape: [8, 4], dtype: "float16" },
    { name: "layer.bias", shape: [8], dtype: "float16" },
  ]);
});

test("a layer that does not fit says where in the model it is", () => {
  const params = createParams(new Graph(), "unet").at("mid_block.proj");
  params.get("weight", [8, 4]);
  expect(() => linear(params, params.graph.feed("x", [1, 5]), 8)).toThrow(
    /unet\.mid_block\.proj\.weight.*\n {2}at unet\.mid_block\.proj/,
  );
});

test("block marks the nodes for rematerialisation, and places below it keep the mark", () => {
  const params = createParams(new Graph(), "unet");
  const x = params.graph.feed("x", [1, 4]);
  const y = params.at("resnets.0").block(() => linear(params.at("resnets.0.proj"), x, 4));
  expect(y.node).toMatchObject({ scope: "unet.resnets.0.proj", block: "unet.resnets.0" });
});
