/** Commands as data: from one table come parsing, help and the messages for wrong use. */
import { parseArgs } from "node:util";
import { findNearest, UserError } from "../errors.ts";
import { wrapText } from "./format.ts";

export interface OptionSpec {
  /** "switch" takes no value. */
  readonly kind: "text" | "integer" | "number" | "switch";
  /** Shown in help as --name VALUE. */
  readonly value?: string;
  readonly about: string;
  /** Shown in help: what it is when it is not given. */
  readonly default?: string;
  /** The only values allowed. */
  readonly choices?: readonly string[];
  /** The smallest number allowed. */
  readonly min?: number;
  /** May be given several times; the command gets a list. */
  readonly repeated?: boolean;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

type Single<S extends OptionSpec> = S["kind"] extends "switch" ? boolean : S["kind"] extends "text" ? string : number;
type Parsed<S extends OptionSpec> = S extends { readonly repeated: true } ? readonly Single<S>[] : Single<S>;
export type OptionValues<T extends OptionTable> = { readonly [K in keyof T]?: Parsed<T[K]> };

/** What a command is told about the world around it; tests give their own. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Shows a line that the next one, or the next output, replaces; "" takes it away. Nothing happens unless `isInteractive`. */
  status(line: string): void;
  /** Asks a person and gives the answer, undefined when there is none any more (Ctrl-C, Ctrl-D); absent where nobody can answer. */
  readonly ask?: ((question: string) => Promise<string | undefined>) | undefined;
  /** True when a person is watching: lines may be redrawn. */
  readonly isInteractive: boolean;
  readonly columns: number;
  /** Aborted at the first Ctrl-C. */
  readonly signal: AbortSignal;
}

export interface CommandSpec<T extends OptionTable> {
  readonly name: string;
  readonly summary: string;
  /** What stands after the name, e.g. "<dataset>". */
  readonly positionals: readonly {
    readonly name: string;
    readonly about: string;
    readonly required: boolean;
    /** The last one may take any number of arguments. */
    readonly repeated?: boolean;
  }[];
  readonly options: T;
  /** Help's headings, by the option that each stands above; none where the list is short. */
  readonly headings?: Readonly<Partial<Record<keyof T, string>>>;
  readonly examples: readonly string[];
  /** Returns the exit code; undefined is 0. */
  run(input: { positionals: readonly string[]; options: OptionValues<T> }, terminal: Terminal): Promise<number | undefined>;
}

/** A command whose option types are forgotten: what the table of commands holds. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  execute(args: readonly string[], terminal: Terminal): Promise<number>;
}

export function defineCommand<const T extends OptionTable>(spec: CommandSpec<T>): Command {
  return {
    name: spec.name,
    summary: spec.summary,
    async execute(args, terminal) {
      if (args.includes("--help") || args.includes("-h")) {
        terminal.out(formatHelp(spec, terminal.columns));
        return 0;
      }
      return (await spec.run(parse(spec, args), terminal)) ?? 0;
    },
  };
}

function formatHelp<T extends OptionTable>(spec: CommandSpec<T>, columns: number): string {
  const positionals = spec.positionals
    .map(({ name, required, repeated }) => `${required ? `<${name}>` : `[${name}]`}${repeated ? "..." : ""}`)
    .join(" ");
  const arguments_ = spec.positionals.map(({ name, about }) => helpRow(`<${name}>`, about));
  const options = Object.entries<OptionSpec>(spec.options).map(([name, option]) =>
    helpRow(...describeOption(name, option), spec.headings?.[name]),
  );
  const rows = [...arguments_, ...options, helpRow("--help", "Show this.")];
  const width = Math.max(...rows.map(({ head }) => head.length));
  const room = Math.max(columns, width + 30);
  return [
    wrapText(spec.summary, columns),
    "",
    `Usage: gesso ${spec.name} ${positionals}${positionals ? " " : ""}[options]`,
    "",
    ...rows.flatMap(({ head, about, heading }) => [
      ...(heading === undefined ? [] : ["", heading]),
      `  ${head.padEnd(width)}  ${wrapText(about, room, width + 4)}`,
    ]),
    "",
    spec.examples.length > 1 ? "Examples:" : "Example:",
    ...spec.examples.map((example) => `  ${example}`),
  ].join("\n");
}

interface HelpRow {
  readonly head: string;
  readonly about: string;
  /** Stands above the row. */
  readonly heading: string | undefined;
}

function helpRow(head: string, about: string, heading?: string): HelpRow {
  return { head, about, heading };
}

function describeOption(name: string, option: OptionSpec): readonly [head: string, about: string] {
  const head = option.kind === "switch" ? `--${name}` : `--${name} ${option.value ?? option.kind.toUpperCase()}`;
  const choices = option.choices ? `: ${option.choices.join(", ")}` : "";
  const usual = option.default === undefined ? "" : ` (default: ${option.default})`;
  return [head, `${option.about.replace(/\.$/, "")}${choices}${usual}.${option.repeated ? " May be repeated." : ""}`];
}

function wrongUse(
  spec: { readonly name: string },
  message: string,
  fix = `gesso ${spec.name} --help lists what it takes.`,
): UserError {
  return new UserError(message, { fix, exitCode: 2 });
}

function parse<T extends OptionTable>(
  spec: CommandSpec<T>,
  args: readonly string[],
): { positionals: string[]; options: OptionValues<T> } {
  const { tokens } = parseArgs({
    args: [...args],
    options: parserOptions(spec.options),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals: string[] = [];
  const options: Record<string, unknown> = {};
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const option = spec.options[token.name];
    if (!option) throw unknownOption(spec, token.rawName);
    refuseSwallowed(spec, token);
    const value = parseValue(spec, token.name, option, token.value);
    options[token.name] = option.repeated ? [...((options[token.name] as unknown[] | undefined) ?? []), value] : value;
  }
  checkPositionals(spec, positionals);
  return { positionals, options: options as OptionValues<T> };
}

/** "--name --json" would make "--json" a name. */
function refuseSwallowed<T extends OptionTable>(
  spec: CommandSpec<T>,
  token: { rawName: string; value?: string | undefined; inlineValue?: boolean | undefined },
): void {
  const next = token.inlineValue ? undefined : /^--([^=]+)/.exec(token.value ?? "")?.[1];
  if (next === undefined || !(next in spec.options)) return;
  throw wrongUse(
    spec,
    `${token.rawName} needs a value, but --${next} follows.`,
    `Give the value, or write ${token.rawName}=VALUE.`,
  );
}

function parserOptions(options: OptionTable): Record<string, { type: "string" | "boolean"; multiple: true }> {
  return Object.fromEntries(
    Object.entries(options).map(([name, { kind }]) => [
      name,
      { type: kind === "switch" ? "boolean" : "string", multiple: true },
    ]),
  );
}

function unknownOption<T extends OptionTable>(spec: CommandSpec<T>, rawName: string): UserError {
  const names = Object.keys(spec.options);
  const nearest = findNearest(rawName.replace(/^-+/, ""), names);
  return wrongUse(spec, `gesso ${spec.name} has no option ${rawName}.`, nearest ? `Did you mean --${nearest}?` : undefined);
}

function parseValue<T extends OptionTable>(
  spec: CommandSpec<T>,
  name: string,
  option: OptionSpec,
  text: string | undefined,
): unknown {
  if (option.kind === "switch") {
    if (text !== undefined) throw wrongUse(spec, `--${name} takes no value, got "${text}".`);
    return true;
  }
  if (text === undefined || text === "") throw wrongUse(spec, `--${name} needs a value: ${option.value ?? option.kind}.`);
  if (option.choices && !option.choices.includes(text)) {
    const nearest = findNearest(text, option.choices);
    const fix = `${nearest ? `Did you mean ${nearest}? ` : ""}It can be: ${option.choices.join(", ")}.`;
    throw wrongUse(spec, `--${name} cannot be "${text}".`, fix);
  }
  return option.kind === "text" ? text : parseNumber(spec, name, option, text);
}

function parseNumber<T extends OptionTable>(spec: CommandSpec<T>, name: string, option: OptionSpec, text: string): number {
  const number = Number(text);
  const isFine =
    Number.isFinite(number) &&
    (option.kind === "number" || Number.isSafeInteger(number)) &&
    number >= (option.min ?? -Infinity);
  if (isFine) return number;
  const what = option.kind === "integer" ? "a whole number" : "a number";
  const from = option.min === undefined ? "" : ` of at least ${option.min}`;
  throw wrongUse(spec, `--${name} needs ${what}${from}, got "${text}".`);
}

function checkPositionals<T extends OptionTable>(spec: CommandSpec<T>, given: readonly string[]): void {
  const missing = spec.positionals.find(({ required }, i) => required && given[i] === undefined);
  if (missing) throw wrongUse(spec, `gesso ${spec.name} needs <${missing.name}>: ${missing.about}`);
  const extra = spec.positionals.at(-1)?.repeated ? undefined : given[spec.positionals.length];
  if (extra !== undefined) throw wrongUse(spec, `gesso ${spec.name} takes no further argument, got "${extra}".`);
}

/** The option table has checked the text already; this tells the compiler so. */
export function optionalOneOf<T extends string>(text: string | undefined, allowed: readonly T[]): T | undefined {
  if (text === undefined) return undefined;
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw new Error(`options: one of ${allowed.join(", ")} needed, got ${text}`);
  return found;
}
