/** A model's bytes, with what making them left behind given back: the session that is made of them needs the memory. */
import { collectGarbage } from "../collect-garbage.ts";
import type { ModelBuilder } from "./emit.ts";

/** Nodes of a model that leaves much garbage behind. */
const manyNodes = 1000;

/** @param fed see `ModelBuilder.toBytes` */
export function writeModel(model: ModelBuilder, fed?: Parameters<ModelBuilder["toBytes"]>[0]): Uint8Array<ArrayBuffer> {
  const bytes = model.toBytes(fed);
  if (model.contents().nodes.length > manyNodes) collectGarbage();
  return bytes;
}
