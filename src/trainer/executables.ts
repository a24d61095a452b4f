/** Compiled graphs by name: each is built when it is first asked for. */
import type { Executable } from "../engines/engine.ts";
import type { Graph } from "../graph/graph.ts";
import type { GraphOptions, WeightStore } from "./weights.ts";

export interface Executables {
  /** @param build makes the graph where no executable has this name yet */
  get(name: string, build: () => Graph, options?: GraphOptions): Promise<Executable>;
  has(name: string): boolean;
  /** Ends all of them; what is asked for later is compiled again. */
  dispose(): Promise<void>;
}

/** @example const run = await createExecutables(weights).get("text encoders", () => buildTextEncoding(base, 1)); */
export function createExecutables(weights: WeightStore): Executables {
  const byName = new Map<string, Promise<Executable>>();
  return {
    get(name, build, options) {
      const known = byName.get(name);
      if (known) return known;
      const made = weights.compile(build(), name, options);
      byName.set(name, made);
      // What could not be compiled is not there to be disposed of.
      made.catch(() => byName.delete(name));
      return made;
    },
    has: (name) => byName.has(name),
    async dispose() {
      for (const executable of byName.values()) await (await executable).dispose();
      byName.clear();
    },
  };
}
