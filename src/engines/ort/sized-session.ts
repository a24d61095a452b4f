/**
 * One session for graphs that differ in the sizes of their inputs alone, such as a step on pictures of several shapes. Compiled one by one they would
 * each take their nodes again, and each its own memory for a run. Here what differs, shapes and some constants, is fed at each run instead.
 */
import { createHash } from "node:crypto";
import { type ConstantTensor, keyOf, type OnnxName } from "./emit.ts";
import type { BuiltModel } from "./lower.ts";
import type { FeedShapes } from "./messages.ts";
import type { ThreadClient } from "./thread-client.ts";
import { writeModel } from "./write-model.ts";

/** A graph as it is added: its model is `sized`. */
export interface SizedModel {
  readonly built: BuiltModel;
  readonly feedShapes: FeedShapes;
}

interface Member {
  readonly feedShapes: FeedShapes;
  readonly sizes: ReadonlyMap<OnnxName, ConstantTensor>;
  /** A short key of each content. */
  readonly keys: ReadonlyMap<OnnxName, string>;
}

export class SizedSession {
  readonly #thread: ThreadClient;
  readonly id: number;
  readonly #name: string;
  readonly #keepsMemory: boolean;
  readonly #first: BuiltModel;
  readonly #signature: string;
  readonly #members = new Map<number, Member>();
  /** By the shape or constant, the input that it is fed to; undefined while no session is there. */
  #fed: ReadonlyMap<OnnxName, OnnxName> | undefined;
  #count = 0;

  /** @param first decides which graphs fit; call `add` with it too */
  constructor(thread: ThreadClient, id: number, first: BuiltModel, { name, keepsMemory }: SessionOptions) {
    this.#thread = thread;
    this.id = id;
    this.#first = first;
    this.#signature = signatureOf(first);
    this.#name = name;
    this.#keepsMemory = keepsMemory;
  }

  /** Whether a graph differs from those that are here in sizes alone. */
  fits(built: BuiltModel): boolean {
    return signatureOf(built) === this.#signature;
  }

  /** Compiles where the session that is there does not serve this size. Gives the number to run it by. */
  async add({ built, feedShapes }: SizedModel): Promise<number> {
    const size = this.#count++;
    const { sizes } = built.model;
    const member = { feedShapes, sizes, keys: keysOf(sizes) };
    this.#members.set(size, member);
    try {
      const fed = findFed([...this.#members.values()]);
      if (this.#fed && sameKeys(fed, this.#fed)) await this.#send(size, member, fed);
      else await this.#compile(fed);
      return size;
    } catch (error) {
      this.#members.delete(size);
      throw error;
    }
  }

  /** Whether that was the last size: then the session is to be released. */
  remove(size: number): boolean {
    this.#members.delete(size);
    return this.#members.size === 0;
  }

  async #compile(fed: ReadonlyMap<OnnxName, OnnxName>): Promise<void> {
    this.#fed = undefined;
    const { model, ...names } = this.#first;
    const bytes = writeModel(model, fed);
    const compiled = { ...names, bytes, feedShapes: {} };
    const options = { id: this.id, name: this.#name, keepsMemory: this.#keepsMemory, model: compiled };
    await this.#thread.call("compile", options, [bytes.buffer]);
    for (const [size, member] of this.#members) await this.#send(size, member, fed);
    this.#fed = fed;
  }

  async #send(size: number, { feedShapes, sizes }: Member, fed: ReadonlyMap<OnnxName, OnnxName>): Promise<void> {
    const constants: Record<OnnxName, ConstantTensor> = {};
    for (const [name, input] of fed) {
      const tensor = sizes.get(name);
      if (tensor) constants[input] = tensor;
    }
    await this.#thread.call("addSize", { id: this.id, size, feedShapes, constants });
  }
}

export interface SessionOptions {
  readonly name: string;
  readonly keepsMemory: boolean;
}

/** What is not the same for all sizes. Those that are equal among themselves for each size share an input. */
function findFed(members: readonly Member[]): ReadonlyMap<OnnxName, OnnxName> {
  const fed = new Map<OnnxName, OnnxName>();
  const inputs = new Map<string, OnnxName>();
  for (const name of members[0]?.keys.keys() ?? []) {
    const own = members.map(({ keys }) => keys.get(name) ?? "");
    if (own.every((key) => key === own[0])) continue;
    const all = own.join(" ");
    const input = inputs.get(all) ?? name;
    inputs.set(all, input);
    fed.set(name, input);
  }
  return fed;
}

function keysOf(sizes: Member["sizes"]): Member["keys"] {
  const known = new Map<ConstantTensor, string>();
  const keyFor = (tensor: ConstantTensor): string => {
    const key = known.get(tensor) ?? digest([keyOf(tensor)]);
    known.set(tensor, key);
    return key;
  };
  return new Map([...sizes].map(([name, tensor]) => [name, keyFor(tensor)]));
}

function sameKeys(a: ReadonlyMap<OnnxName, OnnxName>, b: ReadonlyMap<OnnxName, OnnxName>): boolean {
  return a.size === b.size && [...a].every(([name, input]) => b.get(name) === input);
}

/** Everything of a model but its sizes. */
function signatureOf({ model, optimizerSteps, ...names }: BuiltModel): string {
  const { nodes, constants, inputs, outputs } = model.contents();
  const fixed = constants.filter(({ name }) => !model.sizes.has(name));
  return digest([
    ...nodes.map(({ opType, domain, input, output, attribute }) => plain([opType, domain, input, output, attribute])),
    ...fixed.map(({ name, dataType, rawData }) => plain([name, dataType, [...rawData]])),
    ...[...inputs].map(([name, { shape, dtype }]) => plain([name, shape.length, dtype])),
    ...[...outputs].map((name) => plain(name)),
    ...[...model.sizes].map(([name, { dims, data }]) => plain([name, dims.length, data.constructor.name])),
    plain([names, optimizerSteps]),
  ]);
}

function plain(value: unknown): string {
  return JSON.stringify(value, (_, entry: unknown) => (typeof entry === "bigint" ? String(entry) : entry));
}

function digest(parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\n");
  return hash.digest("base64");
}
