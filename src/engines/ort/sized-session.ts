/**
 * One session for graphs that differ in the sizes of their inputs alone, such as a step on pictures of several shapes. Compiled one by one they would
 * each take their nodes again, and each its own memory for a run. Here what differs, shapes and some constants, is fed at each run instead.
 */
import { createHash } from "node:crypto";
import type { ConstantTensor, OnnxName } from "./emit.ts";
import { keyOf } from "./emit.ts";
import type { BuiltModel } from "./lower.ts";
import type { FeedShapes, SizeConstants } from "./messages.ts";
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
}

export class SizedSession {
  readonly #thread: ThreadClient;
  readonly id: number;
  readonly #name: string;
  readonly #keepsMemory: boolean;
  readonly #first: BuiltModel;
  readonly #signature: string;
  readonly #members = new Map<number, Member>();
  /** By the shape or constant, the input that it is fed to; of the session that is there. */
  #fed: ReadonlyMap<OnnxName, OnnxName> = new Map();
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
    this.#members.set(size, { feedShapes, sizes: built.model.sizes });
    try {
      const fed = findFed([...this.#members.values()]);
      if (size > 0 && sameKeys(fed, this.#fed)) await this.#send(size);
      else await this.#compile(fed);
      return size;
    } catch (error) {
      this.#members.delete(size);
      throw error;
    }
  }

  /** Whether any size is left; the session has ended where none is. */
  async remove(size: number): Promise<boolean> {
    this.#members.delete(size);
    if (this.#members.size > 0) return true;
    await this.#thread.call("release", { id: this.id });
    return false;
  }

  async #compile(fed: ReadonlyMap<OnnxName, OnnxName>): Promise<void> {
    this.#fed = fed;
    const { model, ...names } = this.#first;
    const bytes = writeModel(model, fed);
    const compiled = { ...names, bytes, feedShapes: {} };
    const options = { id: this.id, name: this.#name, keepsMemory: this.#keepsMemory, model: compiled };
    await this.#thread.call("compile", options, [bytes.buffer]);
    for (const size of this.#members.keys()) await this.#send(size);
  }

  async #send(size: number): Promise<void> {
    const member = this.#members.get(size);
    if (!member) return;
    const constants: Record<OnnxName, ConstantTensor> = {};
    for (const [name, input] of this.#fed) {
      const tensor = member.sizes.get(name);
      if (tensor) constants[input] = tensor;
    }
    await this.#thread.call("addSize", {
      id: this.id,
      size,
      feedShapes: member.feedShapes,
      constants: constants satisfies SizeConstants,
    });
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
  const keys = members.map(({ sizes }) => keysOf(sizes));
  for (const name of members[0]?.sizes.keys() ?? []) {
    const own = keys.map((byName) => byName.get(name) ?? "");
    if (own.every((key) => key === own[0])) continue;
    const all = own.join(" ");
    const input = inputs.get(all) ?? name;
    inputs.set(all, input);
    fed.set(name, input);
  }
  return fed;
}

/** A short key of each content. */
function keysOf(sizes: Member["sizes"]): ReadonlyMap<OnnxName, string> {
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
