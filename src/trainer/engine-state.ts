/** The adapter's weights and AdamW's moments as buffers on the engine: put in place, and read back for checkpoints. */
import type { Engine } from "../engines/engine.ts";
import { sizeOf } from "../graph/graph.ts";
import type { StateTensor } from "./checkpoint.ts";
import { requireFloats } from "./encode.ts";
import { type Parameter, stateNames } from "./optimize.ts";

export interface EngineState {
  /** Puts parameters and moments in place; what `state` lacks starts afresh. */
  load(state: ReadonlyMap<string, StateTensor>): Promise<void>;
  /** Parameters and moments now. */
  read(): Promise<readonly StateTensor[]>;
}

/**
 * @param options.isAccumulating whether there are buffers that gradients are summed in
 * @param options.fresh what a parameter begins with, by its name
 */
export function createEngineState(options: {
  readonly engine: Engine;
  readonly parameters: readonly Parameter[];
  readonly isAccumulating: boolean;
  readonly fresh: (name: string) => Float32Array;
}): EngineState {
  const { engine, parameters, isAccumulating, fresh } = options;
  let isLoaded = false;
  return {
    async load(state) {
      for (const { name: parameter, shape } of parameters) {
        for (const name of bufferNames(parameter, isAccumulating)) {
          const data = state.get(name)?.data ?? (name === parameter ? fresh(name) : new Float32Array(sizeOf(shape)));
          if (isLoaded) await engine.write(name, data);
          else await engine.allocate({ name, shape, dtype: "float32" }, { kind: "data", data });
        }
      }
      isLoaded = true;
    },
    async read() {
      const tensors: StateTensor[] = [];
      for (const { name: parameter, shape } of parameters) {
        for (const name of bufferNames(parameter, false))
          tensors.push({ name, shape, data: requireFloats(await engine.read(name), name) });
      }
      return tensors;
    },
  };
}

function bufferNames(parameter: string, isAccumulating: boolean): readonly string[] {
  const { m, v, grad } = stateNames(parameter);
  return isAccumulating ? [parameter, m, v, grad] : [parameter, m, v];
}
