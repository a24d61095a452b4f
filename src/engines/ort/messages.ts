/** What the engine and its thread say to each other. */
import type { Failure } from "../../errors.ts";
import type { BufferSpec, EngineMemory, TensorData, TensorSource } from "../engine.ts";
import type { LoweredModel } from "./lower.ts";

/** The calls that the thread answers: what each takes, and what it gives back. */
export interface Calls {
  allocate: { takes: { readonly spec: BufferSpec; readonly source: TensorSource }; gives: undefined };
  write: { takes: { readonly name: string; readonly data: TensorData }; gives: undefined };
  read: { takes: { readonly name: string }; gives: TensorData };
  free: { takes: { readonly name: string }; gives: undefined };
  compile: {
    takes: { readonly id: number; readonly name: string; readonly keepsMemory: boolean; readonly model: CompiledModel };
    gives: undefined;
  };
  run: {
    takes: { readonly id: number; readonly feeds: Readonly<Record<string, TensorData>> };
    gives: Record<string, TensorData>;
  };
  release: { takes: { readonly id: number }; gives: undefined };
  memory: { takes: undefined; gives: EngineMemory };
  close: { takes: undefined; gives: undefined };
}
export type CallName = keyof Calls;

/** A model with the shapes of what is fed, because the thread does not see the graph. */
export interface CompiledModel extends LoweredModel {
  readonly feedShapes: Readonly<Record<string, readonly number[]>>;
}

export type Request = {
  readonly [K in CallName]: { readonly call: K; readonly ticket: number; readonly args: Calls[K]["takes"] };
}[CallName];

export type Reply =
  | { readonly ticket: number; readonly result: Calls[CallName]["gives"] }
  | { readonly ticket: number; readonly failure: Failure };

export interface ThreadOptions {
  readonly threads: number;
}
