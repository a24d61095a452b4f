/** Makes an adapter file act: as two matrices beside a layer where it can be, as a change of the base's weights where it cannot. */
import type { Engine } from "../engines/engine.ts";
import { adapterBufferNames, type AdapterSpec } from "../lora/inject.ts";
import { type AdapterBase, readAdapter } from "../lora/read.ts";
import type { ScaledChange } from "./weights.ts";

/** Puts an adapter file's matrices on the engine. What is no product of two matrices is told, for the weights' own loading. */
export async function loadAdapter(
  engine: Engine,
  base: AdapterBase,
  { path, weight }: { readonly path: string; readonly weight: number },
  prefix: string,
): Promise<{ readonly specs: readonly AdapterSpec[]; readonly changes: readonly ScaledChange[] }> {
  const { modules, changes } = await readAdapter(path, base);
  for (const { path: layer, down, up } of modules) {
    const names = adapterBufferNames({ path: layer, prefix });
    await engine.allocate({ name: names.down, shape: down.shape, dtype: "float32" }, { kind: "data", data: down.data });
    await engine.allocate({ name: names.up, shape: up.shape, dtype: "float32" }, { kind: "data", data: up.data });
  }
  return {
    specs: modules.map(({ path: layer, rank, alpha }) => ({ path: layer, rank, alpha, weight, prefix })),
    changes: changes.map((change) => ({ change, strength: weight })),
  };
}
