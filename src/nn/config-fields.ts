/** Reads the fields of a network's config.json, and says which field is wrong, what it holds and what would do. */
import { UserError } from "../errors.ts";

type Primitive = string | number | boolean | null;

/** Each method gives a field's value, or the fallback when the file does not have it. */
export interface ConfigFields {
  /** A whole number of at least 1. */
  integer(name: string, fallback: number): number;
  /** Like `integer`, but null or absent gives undefined. */
  optionalInteger(name: string): number | undefined;
  /** A list of whole numbers of at least 1. */
  integers(name: string, fallback: readonly number[]): readonly number[];
  /** One whole number for all, or a list of `length` of them. */
  integerPerItem(name: string, length: number, fallback: number): readonly number[];
  number(name: string, fallback: number): number;
  /** Like `number`, but null or absent gives undefined. */
  optionalNumber(name: string): number | undefined;
  /** Null counts as false, as in Python. */
  boolean(name: string, fallback: boolean): boolean;
  /** A string out of a list. */
  choice<T extends string>(name: string, choices: readonly T[], fallback: T): T;
  /** Like `choice`, but null or absent gives undefined; a list of one counts as its item. */
  optionalChoice<T extends string>(name: string, choices: readonly T[]): T | undefined;
  /** A list of `length` strings, each out of a list. */
  choices<T extends string>(name: string, choices: readonly T[], fallback: readonly T[], length: number): readonly T[];
  /** Refuses any value but these (a list of them counts too); for options that we have only one meaning for. */
  only(name: string, supported: readonly Primitive[]): void;
  /** The error for a field, to be thrown: what is needed instead. */
  refuse(name: string, needed: string): UserError;
}

/**
 * @param json what config.json holds, parsed
 * @param where the file, for messages: "unet/config.json"
 */
export function readConfigFields(json: unknown, where: string): ConfigFields {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`${where} does not hold a JSON object.`, { fix: "Use the config.json that came with the model." });
  }
  const fields = new Map<string, unknown>(Object.entries(json));

  const refuse = (name: string, needed: string): UserError =>
    new UserError(`${where}: ${name} is ${JSON.stringify(fields.get(name)) ?? "missing"}; ${needed}.`, {
      fix: "Use a model that Gesso supports, with the config.json that came with it.",
    });
  /** The fallback for an absent field; otherwise what `parse` makes of it, undefined being a refusal. */
  const read = <T>(name: string, fallback: T, needed: string, parse: (value: unknown) => T | undefined): T => {
    if (!fields.has(name)) return fallback;
    const value = parse(fields.get(name));
    if (value === undefined) throw refuse(name, needed);
    return value;
  };
  const oneOf = <T extends string>(choices: readonly T[]): string => `supported: ${choices.join(", ")}`;

  return {
    refuse,
    integer: (name, fallback) => read(name, fallback, "a whole number of at least 1 is needed", asInteger),
    optionalInteger: (name) =>
      isNone(fields.get(name)) ? undefined : read(name, 1, "a whole number of at least 1 or null is needed", asInteger),
    integers: (name, fallback) =>
      read(name, fallback, "a list of whole numbers of at least 1 is needed", (value) => asList(value, asInteger)),
    integerPerItem: (name, length, fallback) =>
      read(name, repeat(fallback, length), `a whole number of at least 1 or a list of ${length} of them is needed`, (value) => {
        const single = asInteger(value);
        const list = single === undefined ? asList(value, asInteger) : repeat(single, length);
        return list?.length === length ? list : undefined;
      }),
    number: (name, fallback) => read(name, fallback, "a number is needed", asNumber),
    optionalNumber: (name) => (isNone(fields.get(name)) ? undefined : read(name, 0, "a number or null is needed", asNumber)),
    boolean: (name, fallback) =>
      read(name, fallback, "true or false is needed", (value) =>
        value === null ? false : typeof value === "boolean" ? value : undefined,
      ),
    choice: (name, choices, fallback) =>
      read(name, fallback, oneOf(choices), (value) => choices.find((choice) => choice === value)),
    optionalChoice: (name, choices) =>
      isNone(fields.get(name))
        ? undefined
        : read(name, undefined, `${oneOf(choices)}, null`, (value) => choices.find((choice) => choice === single(value))),
    choices: (name, choices, fallback, length) => {
      const types = read(name, fallback, oneOf(choices), (value) =>
        asList(value, (item) => choices.find((choice) => choice === item)),
      );
      if (types.length !== length) throw refuse(name, `${length} needed, one for each of block_out_channels`);
      return types;
    },
    only: (name, supported) => {
      const value = fields.get(name);
      const values: readonly unknown[] = Array.isArray(value) ? value : [value];
      const isSupported = values.every((item) => supported.some((primitive) => primitive === item));
      if (fields.has(name) && !isSupported)
        throw refuse(name, `supported: ${supported.map((item) => JSON.stringify(item)).join(", ")}`);
    },
  };
}

function single(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value;
}

function repeat(value: number, length: number): readonly number[] {
  return Array.from({ length }, () => value);
}

/** Absent or null: Python's None. */
function isNone(value: unknown): boolean {
  return value === undefined || value === null;
}

function asNumber(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function asInteger(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 ? value : undefined;
}

function asList<T>(value: unknown, parse: (item: unknown) => T | undefined): readonly T[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const items = value.map(parse).filter((item) => item !== undefined);
  return items.length === value.length ? items : undefined;
}
