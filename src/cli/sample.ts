/** gesso sample: draws pictures with a base model and adapters, one by one or as a labelled sheet. */
import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import {
  type BaseModel,
  chooseEngine,
  createChosenEngine,
  createPictureDescriber,
  type Engine,
  drawPictures,
  type PictureRequest,
  type Pixels,
  renderSheet,
  samplerNames,
  type Sheet,
  writePng,
} from "../index.ts";
import { countOf } from "../words.ts";
import { baseOptions, openChosenBase } from "./base-options.ts";
import { defineCommand, type OptionValues, type Terminal } from "./command.ts";
import { createDrawingView } from "./drawing-view.ts";
import { formatDuration } from "./format.ts";
import { describeGrid, type GridAxis, layOutGrid, parseGridAxis, parseLora } from "./grid.ts";
import { engineOptions, readEngine } from "./train-options.ts";

const options = {
  ...baseOptions,
  lora: {
    kind: "text",
    value: "FILE[:WEIGHT]",
    about: "Adapter, and how strongly it acts: 0 is not at all, 1 as trained, less than 0 the other way.",
    default: "1",
    repeated: true,
  },
  prompt: { kind: "text", value: "TEXT", about: "What to draw. Required, if --prompts or --grid do not say it." },
  negative: { kind: "text", value: "TEXT", about: "What to keep away from." },
  seed: { kind: "integer", value: "N", about: "The same seed gives the same picture.", default: "42", min: 0 },
  steps: { kind: "integer", value: "N", about: "Sampling steps.", default: "25; 20 for mini", min: 1 },
  cfg: {
    kind: "number",
    value: "N",
    about: "How closely to keep to the prompt; 1 is off.",
    default: "7; 5 for mini",
    min: 0,
  },
  sampler: {
    kind: "text",
    value: "NAME",
    about: "Sampler.",
    default: "dpmpp_2m; euler for NoobAI V-Pred and its like",
    choices: samplerNames,
  },
  width: { kind: "integer", value: "PX", about: "Width.", default: "the base's own", min: 8 },
  height: { kind: "integer", value: "PX", about: "Height.", default: "the base's own", min: 8 },
  "clip-skip": {
    kind: "integer",
    value: "N",
    about: "Layer of SD 1.5's text encoder, from the end: 1 or 2, as the LoRA was trained.",
    default: "1; 2 for anime models",
  },
  "max-caption-tokens": {
    kind: "integer",
    value: "N",
    about: "How much of the prompt is read: 75, 150 or 225 tokens; 30, 60 or 90 for mini.",
    default: "what it needs",
  },
  out: { kind: "text", value: "FILE.png", about: "Where the picture goes; several become FILE-1.png, FILE-2.png. Required." },
  count: { kind: "integer", value: "N", about: "Pictures of each prompt, with seeds from --seed on.", default: "1", min: 1 },
  prompts: { kind: "text", value: "FILE", about: "Text file with one prompt a line; with one --grid, they are its rows." },
  grid: {
    kind: "text",
    value: "AXIS=A,B,C",
    about:
      "Draw every value into one sheet: the first --grid gives the columns, a second the rows. AXIS is weight (of all adapters), " +
      "weight:NAME (of one), lora (file names, or none), seed, steps, cfg, sampler, or prompt (with | between).",
    repeated: true,
  },
  "grid-pictures": { kind: "text", value: "DIR", about: "Folder for the sheet's single pictures too." },
  ...engineOptions,
} as const;

export const sampleCommand = defineCommand({
  name: "sample",
  summary: "Draw pictures with a base model and any number of LoRAs.",
  positionals: [],
  options,
  headings: { count: "Several pictures:", engine: "Running:" },
  examples: [
    'gesso sample --base mini --prompt "a red apple" --out apple.png',
    'gesso sample --lora mystyle.safetensors:0.8 --prompt "mystyle, an apple" --count 4 --out apple.png',
    'gesso sample --lora a.safetensors --prompt "a fox" --grid weight=0,1 --grid seed=1,2 --out a.png',
    'gesso sample --prompts prompts.txt --grid "lora=none,step-100.safetensors" --out sheet.png',
  ],
  async run({ options: given }, terminal) {
    const { out } = given;
    const prompts = await readPrompts(given);
    const axes = gridAxes(given, prompts);
    const [prompt] = prompts ?? [given.prompt ?? (axes.some(({ name }) => name === "prompt") ? "" : undefined)];
    if (prompt === undefined || out === undefined)
      throw missing(prompt === undefined ? "--prompt with what to draw" : "--out with the name of a .png file");
    await checkOutput(out);
    const base = await openChosenBase(given);
    for (const note of base.notes) terminal.out(`Note: ${note}`);
    const engine = await chooseEngine(readEngine(given), process.env);
    const common = commonRequest(given, base, prompt);
    const job = axes.length > 0 ? planSheet(axes, common, base, given["grid-pictures"]) : planList(given, common, prompts, out);
    for (const path of new Set([out, ...job.paths])) if (path !== undefined) await checkOutput(path);
    const reading = { clipSkip: given["clip-skip"], maxCaptionTokens: given["max-caption-tokens"] };
    return draw(job, { base, out, terminal, reading, createEngine: () => createChosenEngine(engine) });
  },
});

type Given = OptionValues<typeof options>;

/** What suits a base; mini was made for less guidance. */
export function samplingDefaults({ name }: Pick<BaseModel, "name">): { steps: number; guidance: number } {
  return name === "mini" ? { steps: 20, guidance: 5 } : { steps: 25, guidance: 7 };
}

function commonRequest(given: Given, base: BaseModel, prompt: string): PictureRequest {
  return {
    prompt,
    negativePrompt: given.negative ?? "",
    seed: given.seed ?? 42,
    ...samplingDefaults(base),
    ...(given.steps === undefined ? {} : { steps: given.steps }),
    ...(given.cfg === undefined ? {} : { guidance: given.cfg }),
    // Karras' levels would spend most steps between a sigma of 4096 and one of 15, where there is nothing to see.
    sampler: given.sampler ?? (base.schedule.zeroTerminalSnr ? "euler" : "dpmpp_2m"),
    widthPx: given.width ?? base.nativeResolutionPx,
    heightPx: given.height ?? base.nativeResolutionPx,
    loras: (given.lora ?? []).map((text) => parseLora(text)),
  };
}

/** The lines of --prompts that are not empty; undefined without it. */
async function readPrompts({ prompts: path, prompt }: Given): Promise<readonly string[] | undefined> {
  if (path === undefined) return undefined;
  if (prompt !== undefined) throw wrongUse("--prompt and --prompts both say what to draw.", "Give one of them.");
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new UserError(`Cannot read the prompts in ${path}: ${(error as Error).message}.`, {
      fix: "Give a text file with one prompt a line.",
      cause: error,
    });
  });
  const lines = text
    .replace(/^\ufeff/, "")
    .split(/\r?\n/)
    .map((line) => line.trim());
  const prompts = lines.filter((line) => line !== "");
  if (prompts.length > 0) return prompts;
  throw new UserError(`${path} holds no prompt.`, { fix: "Write one prompt a line into it." });
}

/** The axes of the sheet; none when pictures are drawn one by one. */
function gridAxes(given: Given, prompts: readonly string[] | undefined): readonly GridAxis[] {
  const axes = (given.grid ?? []).map(parseGridAxis);
  if (axes.length === 0) {
    if (given["grid-pictures"] === undefined) return [];
    throw wrongUse("--grid-pictures needs a --grid.", "Leave it out: without --grid, every picture has a file of its own.");
  }
  if (given.count !== undefined) {
    throw wrongUse("--count is for pictures without --grid.", "Make the seeds an axis: --grid seed=1,2,3.");
  }
  if (prompts === undefined) return axes;
  return [...axes, { name: "prompt", values: prompts.map((prompt) => promptValue(prompt)) }];
}

function promptValue(prompt: string): GridAxis["values"][number] {
  return { label: prompt, change: (request) => ({ ...request, prompt }) };
}

/** What to draw, and where it goes. */
interface Job {
  readonly requests: readonly PictureRequest[];
  /** The file of each picture; undefined where it is only on the sheet. */
  readonly paths: readonly (string | undefined)[];
  readonly sheet: Omit<Sheet, "tiles"> | undefined;
}

function planList(given: Given, common: PictureRequest, prompts: readonly string[] = [common.prompt], out: string): Job {
  const seeds = Array.from({ length: given.count ?? 1 }, (_, i) => common.seed + i);
  const requests = prompts.flatMap((prompt) => seeds.map((seed) => ({ ...common, prompt, seed })));
  const digits = String(requests.length).length;
  const numbered = requests.map((_, i) => out.replace(/\.png$/i, (end) => `-${String(i + 1).padStart(digits, "0")}${end}`));
  return { requests, paths: requests.length === 1 ? [out] : numbered, sheet: undefined };
}

function planSheet(axes: readonly GridAxis[], common: PictureRequest, base: BaseModel, folder: string | undefined): Job {
  const { requests, columns, rows } = layOutGrid(axes, common);
  const number = (index: number, of: number): string => String(index + 1).padStart(String(of).length, "0");
  const paths = requests.map((_, i) => {
    const [row, column] = [Math.floor(i / columns.length), i % columns.length];
    const name = `row-${number(row, rows.length)}-column-${number(column, columns.length)}.png`;
    return folder === undefined ? undefined : join(folder, name);
  });
  return { requests, paths, sheet: { columns, rows, ...describeGrid(axes, common, base.name) } };
}

interface Drawing {
  readonly base: BaseModel;
  readonly out: string;
  readonly terminal: Terminal;
  readonly createEngine: () => Promise<Engine>;
  readonly reading: { readonly clipSkip: number | undefined; readonly maxCaptionTokens: number | undefined };
}

/** Draws a job. What is done when it is interrupted, or when something fails, is kept: files written, and a sheet with places left empty. */
async function draw(job: Job, { base, out, terminal, reading, createEngine }: Drawing): Promise<number> {
  const { requests, paths, sheet } = job;
  const startedAt = performance.now();
  for (const path of [out, ...paths]) if (path !== undefined) await mkdir(dirname(path), { recursive: true });
  const describer = createPictureDescriber(base);
  const view = createDrawingView(terminal, requests.length);
  const drawn: (Pixels | undefined)[] = requests.map(() => undefined);
  let failure: Error | undefined;
  try {
    const onProgress = (done: number, total: number): void => view.progress(done, total);
    const onWarning = (message: string): void => terminal.err(message);
    const { signal } = terminal;
    for await (const { index, pixels } of drawPictures({
      base,
      createEngine,
      requests,
      ...reading,
      signal,
      onProgress,
      onWarning,
    })) {
      drawn[index] = pixels;
      const [request, path] = [requests[index], paths[index]];
      if (request && path !== undefined) await writePng(path, pixels, { parameters: await describer.describe(request) });
      view.picture();
    }
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    failure = error;
  } finally {
    view.end();
  }
  const count = drawn.filter((pixels) => pixels !== undefined).length;
  if (sheet && count > 0) await writeSheet(out, sheet, drawn);
  if (failure) {
    if (count > 0) terminal.out(describeUnfinished(job, count, out));
    throw failure;
  }
  terminal.out(describeDone(job, out, formatDuration(performance.now() - startedAt)));
  return 0;
}

async function writeSheet(path: string, sheet: Omit<Sheet, "tiles">, drawn: readonly (Pixels | undefined)[]): Promise<void> {
  const width = sheet.columns.length;
  const tiles = sheet.rows.map((_, row) => drawn.slice(row * width, (row + 1) * width));
  const count = drawn.filter((pixels) => pixels !== undefined).length;
  const stopped = count < drawn.length ? ` Stopped after ${count} of ${drawn.length} pictures.` : "";
  await writePng(path, await renderSheet({ ...sheet, note: `${sheet.note ?? ""}.${stopped}`, tiles }));
}

function describeDone({ requests, paths, sheet }: Job, out: string, took: string): string {
  const [first] = requests;
  const size = first ? `${first.widthPx} x ${first.heightPx} px` : "";
  if (sheet) return `${out}: ${countOf(requests.length, "picture")} of ${size}, drawn in ${took}.`;
  if (requests.length === 1) return `${out}: ${size}, drawn in ${took}.`;
  return `${paths[0] ?? out} to ${paths.at(-1) ?? out}: ${countOf(requests.length, "picture")} of ${size}, drawn in ${took}.`;
}

function describeUnfinished({ requests, sheet }: Job, count: number, out: string): string {
  const kept = `${count} of ${countOf(requests.length, "picture")} drawn`;
  return sheet ? `Stopped: ${kept}; they are on ${out}, the other places are empty.` : `Stopped: ${kept} and written.`;
}

/** Finds out before the work, not after it, that the picture could not be written. */
async function checkOutput(out: string): Promise<void> {
  if (!/\.png$/i.test(out))
    throw new UserError(`--out ${out} does not end in .png.`, { fix: `Give --out ${out}.png.`, exitCode: 2 });
  const there = await stat(out).catch(() => undefined);
  if (there?.isDirectory()) throw new UserError(`${out} is a folder.`, { fix: "Give the name of a file.", exitCode: 2 });
  const folder = await stat(dirname(out)).catch((error: unknown) =>
    (error as NodeJS.ErrnoException).code === "ENOTDIR" ? { isDirectory: () => false } : undefined,
  );
  if (folder && !folder.isDirectory())
    throw new UserError(`Cannot write ${out}: ${dirname(out)} is not a folder.`, { fix: "Correct the path." });
}

function missing(what: string): UserError {
  return new UserError(`gesso sample needs ${what}.`, { fix: "gesso sample --help shows an example.", exitCode: 2 });
}

function wrongUse(message: string, fix: string): UserError {
  return new UserError(message, { fix, exitCode: 2 });
}
