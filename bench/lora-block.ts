/** Forward and backward of one block of a network: its weights frozen, LoRA on its linear layers. */
import { grad } from "../src/autodiff/grad.ts";
import { mul, reduceSum } from "../src/graph/build.ts";
import { Graph, type Shape, type Value } from "../src/graph/graph.ts";
import { addAdapters, adapterBufferNames } from "../src/lora/inject.ts";
import { findTargets } from "../src/lora/targets.ts";

/**
 * Gradients for the adapters and for the block's input, as inside a network, of the output times a fixed cotangent. Input, cotangent
 * and gradients are buffers, as in a network nothing of them would leave the engine.
 *
 * @param shape of the block's input and output
 * @param build the block's output from its input
 */
export function buildLoraBlock(shape: Shape, rank: number, build: (x: Value) => Value): Graph {
  const plain = new Graph();
  plain.fetches.set("y", build(plain.buffer("x", shape)));
  const specs = findTargets(plain, "all-linear").map(({ path }) => ({ path, rank, alpha: rank }));
  const graph = addAdapters(plain, specs);
  const y = graph.fetches.get("y");
  if (!y) throw new Error("buildLoraBlock: the block must have an output");
  graph.fetches.delete("y");
  const loss = reduceSum(mul(y, graph.buffer("cotangent", shape)));
  graph.fetches.set("loss", loss);
  const adapters = new Set(specs.flatMap((spec) => Object.values(adapterBufferNames(spec))));
  const trained = graph.inputs.filter(({ attrs: { name } }) => name === "x" || adapters.has(name));
  const gradients = grad(
    loss,
    trained.map(({ outputs: [value] }) => value),
  );
  trained.forEach(({ attrs: { name } }, i) => {
    const gradient = gradients[i];
    if (gradient) graph.updates.set(`${name}.grad`, gradient);
  });
  return graph;
}
