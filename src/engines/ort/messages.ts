/** What the engine and its thread say to each other. */
import type { Failure } from "../../errors.ts";
import type { BufferSpec, EngineMemory, TensorData, TensorSource } from "../engine.ts";
import type { ConstantTensor, OnnxName } from "./emit.ts";
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
  /** How a session runs for one of several sizes. */
  addSize: {
    takes: { readonly id: number; readonly size: number; readonly feedShapes: FeedShapes; readonly constants: SizeConstants };
    gives: undefined;
  };
  run: {
    /** `size` as it was added; absent where the session has but one. */
    takes: { readonly id: number; readonly size?: number; readonly feeds: Readonly<Record<string, TensorData>> };
    gives: Record<string, TensorData>;
  };
  release: { takes: { readonly id: number }; gives: undefined };
  memory: { takes: undefined; gives: EngineMemory };
  close: { takes: undefined; gives: undefined };
}
export type CallName = keyof Calls;

export type FeedShapes = Readonly<Record<string, readonly number[]>>;
/** What is fed for a size beside the feeds, by the model's input. */
export type SizeConstants = Readonly<Record<OnnxName, ConstantTensor>>;

/** A model with the shapes of what is fed, because the thread does not see the graph. */
export interface CompiledModel extends LoweredModel {
  readonly feedShapes: FeedShapes;
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
