/** Adapter files on the engine, for drawing: files of one layout take turns in the same buffers, so that one graph serves them all. */
import type { AdapterBase } from "../lora/layout.ts";
import type { Engine } from "../engines/engine.ts";
import type { AdapterModule } from "../lora/file.ts";
import { adapterBufferNames, type AdapterSpec } from "../lora/inject.ts";
import { readAdapter, type WeightChange } from "../lora/read.ts";
import type { ScaledChange } from "./weights.ts";

/** An adapter file and how strongly it acts; 1 is as trained. */
export interface LoraUse {
  readonly path: string;
  readonly weight: number;
}

export interface LoraSlots {
  /** Reads a file and keeps none of it but its layout. @throws UserError when it does not fit the base */
  check(path: string): Promise<void>;
  /**
   * Brings the files' matrices onto the engine, those of the last call replaced. Their effects add up, that of a file given twice too. What is
   * no product of two matrices is told, for the base's weights.
   */
  place(
    loras: readonly LoraUse[],
  ): Promise<{ readonly specs: readonly AdapterSpec[]; readonly changes: readonly ScaledChange[] }>;
}

/** The layers of an adapter file, with rank and alpha: all that a graph knows of it. */
interface Layout {
  readonly index: number;
  readonly layers: readonly Pick<AdapterSpec, "path" | "rank" | "alpha">[];
}

/** @example const slots = createLoraSlots(engine, base); await slots.place([{ path: "a.safetensors", weight: 0.8 }]); */
export function createLoraSlots(engine: Engine, base: AdapterBase): LoraSlots {
  const layouts = new Map<string, Layout>();
  const layoutOfFile = new Map<string, Layout>();
  const changesOfFile = new Map<string, readonly WeightChange[]>();
  /** The file whose numbers are in the buffers of a prefix. */
  const contents = new Map<string, string>();

  const read = async (path: string): Promise<{ readonly modules: readonly AdapterModule[]; readonly layout: Layout }> => {
    const { modules, changes } = await readAdapter(path, base);
    changesOfFile.set(path, changes);
    const layers = modules.map(({ path: layer, rank, alpha }) => ({ path: layer, rank, alpha }));
    const key = JSON.stringify(layers.map(Object.values));
    const layout = layouts.get(key) ?? { index: layouts.size, layers };
    layouts.set(key, layout);
    layoutOfFile.set(path, layout);
    return { modules, layout };
  };
  /** Makes sure that the numbers of a file are in its slot's buffers. */
  const bring = async (path: string, slot: number): Promise<{ readonly prefix: string; readonly layout: Layout }> => {
    const prefixOf = ({ index }: Layout): string => `lora${slot}.layout${index}`;
    const known = layoutOfFile.get(path);
    if (known && contents.get(prefixOf(known)) === path) return { prefix: prefixOf(known), layout: known };
    const { modules, layout } = await read(path);
    const prefix = prefixOf(layout);
    await fill(engine, modules, prefix, contents.has(prefix));
    contents.set(prefix, path);
    return { prefix, layout };
  };
  return {
    async check(path) {
      if (!layoutOfFile.has(path)) await read(path);
    },
    async place(loras) {
      const specs: AdapterSpec[] = [];
      const changes: ScaledChange[] = [];
      for (const [slot, { path, weight }] of loras.entries()) {
        const { prefix, layout } = await bring(path, slot);
        specs.push(...layout.layers.map((layer) => ({ ...layer, weight, prefix })));
        changes.push(...(changesOfFile.get(path) ?? []).map((change) => ({ change, path, strength: weight })));
      }
      return { specs, changes };
    },
  };
}

async function fill(engine: Engine, modules: readonly AdapterModule[], prefix: string, exists: boolean): Promise<void> {
  for (const { path, down, up } of modules) {
    const names = adapterBufferNames({ path, prefix });
    for (const [name, { shape, data }] of [
      [names.down, down],
      [names.up, up],
    ] as const) {
      if (exists) await engine.write(name, data);
      else await engine.allocate({ name, shape, dtype: "float32" }, { kind: "data", data });
    }
  }
}
