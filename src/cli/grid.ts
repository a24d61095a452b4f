/** The axes of gesso sample --grid: how they are written, and what each of their values changes in a picture. */
import { basename } from "node:path";
import { findNearest, UserError } from "../errors.ts";
import { type LoraUse, type PictureRequest, samplerNames, type Sheet } from "../index.ts";

/** One value of an axis. */
export interface AxisValue {
  /** What stands at its row or column. */
  readonly label: string;
  readonly change: (request: PictureRequest) => PictureRequest;
}

export interface GridAxis {
  /** "seed", or "weight:NAME" for one adapter of several. */
  readonly name: string;
  readonly values: readonly AxisValue[];
}

interface AxisKind {
  readonly example: string;
  /** Between values: commas, but in prompts, which are full of them. */
  readonly separator: "," | "|";
  /** @param target what follows a colon in the axis's name */
  readonly parse: (text: string, target: string | undefined) => AxisValue;
}

const axisKinds: Readonly<Record<string, AxisKind>> = {
  weight: { example: "weight=0,0.5,1", separator: ",", parse: parseWeight },
  seed: numberAxis("seed", { isWhole: true, min: 0 }, (seed) => ({ seed })),
  prompt: {
    example: '"prompt=a fox|a red apple"',
    separator: "|",
    parse: (prompt) => ({ label: prompt, change: (request) => ({ ...request, prompt }) }),
  },
  steps: numberAxis("steps", { isWhole: true, min: 1 }, (steps) => ({ steps })),
  cfg: numberAxis("cfg", { isWhole: false, min: 0 }, (guidance) => ({ guidance })),
  sampler: { example: "sampler=euler,dpmpp_2m", separator: ",", parse: parseSampler },
  lora: { example: "lora=a.safetensors,b.safetensors:0.8,none", separator: ",", parse: parseLoraValue },
};
const axisNames = Object.keys(axisKinds);

/**
 * "seed=1,2,3" as an axis.
 *
 * @throws UserError for an unknown axis, no values, or a value that the axis cannot have
 */
export function parseGridAxis(text: string): GridAxis {
  const [, name = "", values = ""] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  const [kindName = "", ...rest] = name.trim().split(":");
  const kind = Object.hasOwn(axisKinds, kindName) ? axisKinds[kindName] : undefined;
  if (!kind || (rest.length > 0 && kindName !== "weight")) throw refuseAxis(text, kindName);
  const parts = values
    .split(kind.separator)
    .map((part) => part.trim())
    .filter((part) => part !== "");
  if (parts.length === 0) throw wrongGrid(`--grid ${text} has no values.`, `Give some, such as --grid ${kind.example}.`);
  const target = rest.length > 0 ? rest.join(":") : undefined;
  return { name: name.trim(), values: parts.map((part) => kind.parse(part, target)) };
}

function refuseAxis(text: string, name: string): UserError {
  const nearest = findNearest(name, axisNames);
  const fix =
    nearest && nearest !== name ? `Did you mean ${nearest}=...?` : `Axes: ${axisNames.join(", ")}; "weight:NAME" too.`;
  return wrongGrid(`--grid ${text} is no axis with its values.`, `${fix} For example: --grid ${axisKinds.weight?.example}`);
}

function numberAxis(
  name: string,
  { isWhole, min }: { readonly isWhole: boolean; readonly min: number },
  change: (value: number) => Partial<PictureRequest>,
): AxisKind {
  return {
    example: `${name}=${isWhole ? "10,20" : "3,5,7"}`,
    separator: ",",
    parse(text) {
      const value = Number(text);
      if (!(isWhole ? Number.isSafeInteger(value) : Number.isFinite(value)) || value < min) {
        throw wrongGrid(
          `--grid ${name}: "${text}" is not ${isWhole ? "a whole number" : "a number"} of at least ${min}.`,
          `Give numbers with commas between them, such as --grid ${this.example}.`,
        );
      }
      return { label: `${name} ${value}`, change: (request) => ({ ...request, ...change(value) }) };
    },
  };
}

function parseSampler(text: string): AxisValue {
  const sampler = samplerNames.find((name) => name === text);
  if (sampler) return { label: sampler, change: (request) => ({ ...request, sampler }) };
  const nearest = findNearest(text, samplerNames);
  const choices = `It can be: ${samplerNames.join(", ")}.`;
  throw wrongGrid(`--grid sampler cannot be "${text}".`, nearest ? `Did you mean ${nearest}? ${choices}` : choices);
}

function parseWeight(text: string, target: string | undefined): AxisValue {
  const weight = Number(text);
  if (!Number.isFinite(weight)) {
    throw wrongGrid(`--grid weight: "${text}" is not a number.`, "Give numbers, such as --grid weight=0,0.5,1.");
  }
  return {
    label: `${target === undefined ? "weight" : loraStem(target)} ${weight}`,
    change(request) {
      checkTarget(request, target);
      const isMeant = ({ path }: LoraUse): boolean => target === undefined || isNamed(path, target);
      return { ...request, loras: request.loras.map((lora) => (isMeant(lora) ? { ...lora, weight } : lora)) };
    },
  };
}

/** An axis that moves nothing would draw the same picture again and again. */
function checkTarget({ loras }: PictureRequest, target: string | undefined): void {
  if (target === undefined) {
    if (loras.length > 0) return;
    throw wrongGrid("--grid weight needs an adapter to be the weight of.", "Give --lora FILE, or --grid lora=FILE,FILE.");
  }
  if (loras.some(({ path }) => isNamed(path, target))) return;
  const names = loras.map(({ path }) => loraStem(path));
  const nearest = findNearest(target, names);
  throw wrongGrid(
    `--grid weight:${target}: no --lora is called ${target}.`,
    nearest ? `Did you mean weight:${nearest}?` : `There ${names.length === 0 ? "are none" : `is ${names.join(", ")}`}.`,
  );
}

function parseLoraValue(text: string): AxisValue {
  if (text === "none") return { label: "no LoRA", change: (request) => request };
  const lora = parseLora(text, "--grid lora");
  const label = lora.weight === 1 ? loraStem(lora.path) : `${loraStem(lora.path)} ${lora.weight}`;
  return { label, change: (request) => ({ ...request, loras: [...request.loras, lora] }) };
}

/**
 * "FILE" or "FILE:WEIGHT". Only what follows the last colon and is a number is a weight, so that C:\x.safetensors is a file.
 *
 * @throws UserError for a weight that is no number
 */
export function parseLora(text: string, option = "--lora"): LoraUse {
  const [, path, after] = /^(.+):([^:\\/]*)$/.exec(text) ?? [];
  if (path === undefined || after === undefined) return { path: text, weight: 1 };
  const weight = Number(after);
  if (after.trim() !== "" && Number.isFinite(weight)) return { path, weight };
  if (!/\.safetensors$/i.test(path)) return { path: text, weight: 1 };
  throw new UserError(`${option} ${text}: "${after}" is not a weight.`, {
    fix: `Give a number, such as ${path}:0.8.`,
    exitCode: 2,
  });
}

/** A file's name without folder and ending, whichever system's path it is. */
export function loraStem(path: string): string {
  return basename(path.replaceAll("\\", "/")).replace(/\.safetensors$/i, "");
}

function isNamed(path: string, name: string): boolean {
  return path === name || loraStem(path) === loraStem(name);
}

/** A grid laid out: what to draw, row by row, and what to write beside it. */
export interface Grid {
  readonly requests: readonly PictureRequest[];
  readonly columns: readonly string[];
  readonly rows: readonly string[];
}

/**
 * Every value of the first axis (columns) with every value of the second (rows).
 *
 * @throws UserError for more than two axes, the same one twice, or an axis that has nothing to change
 */
export function layOutGrid(axes: readonly GridAxis[], common: PictureRequest): Grid {
  const [columns, rows = { name: "", values: [{ label: "", change: (request) => request }] }, third] = axes;
  if (!columns) throw new Error("layOutGrid: an axis needed, got none");
  if (third) throw wrongGrid(`A sheet has columns and rows; ${third.name} would be a third axis.`, "Leave one out.");
  if (columns.name === rows.name) throw wrongGrid(`The columns and the rows are both ${rows.name}.`, "Leave one out.");
  // Files first, then their weights, whichever are the columns.
  const isLast = rows.name === "lora";
  const requests = rows.values.flatMap((row) =>
    columns.values.map((column) => (isLast ? column.change(row.change(common)) : row.change(column.change(common)))),
  );
  return { requests, columns: columns.values.map(({ label }) => label), rows: rows.values.map(({ label }) => label) };
}

/** What all pictures of a sheet share: the prompt above it, the rest below. */
export function describeGrid(
  axes: readonly GridAxis[],
  common: PictureRequest,
  baseName: string,
): Pick<Sheet, "title" | "note"> {
  const names = new Set(axes.map(({ name }) => name));
  const { prompt, negativePrompt, steps, sampler, guidance, seed, loras } = common;
  const loraText = loras.map(({ path, weight }) => {
    const isMoved =
      names.has("weight") || [...names].some((name) => name.startsWith("weight:") && isNamed(path, name.slice(7)));
    return isMoved ? loraStem(path) : `${loraStem(path)} at ${weight}`;
  });
  const parts = [
    [`base ${baseName}`, true],
    [loraText.join(" + "), loraText.length > 0],
    [`seed ${seed}`, !names.has("seed")],
    [`${steps} steps`, !names.has("steps")],
    [sampler, !names.has("sampler")],
    [`cfg ${guidance}`, !names.has("cfg")],
    [`without "${negativePrompt}"`, negativePrompt !== ""],
  ] as const;
  const note = parts.flatMap(([text, isShown]) => (isShown ? [text] : [])).join(", ");
  return { title: names.has("prompt") ? undefined : prompt, note };
}

function wrongGrid(message: string, fix: string): UserError {
  return new UserError(message, { fix, exitCode: 2 });
}
