/** gesso sample: draws one picture with a base model and adapters. */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "../errors.ts";
import { type BaseModel, chooseEngine, createChosenEngine, openBase, sample, samplerNames, writePng } from "../index.ts";
import { defineCommand } from "./command.ts";
import { formatDuration } from "./format.ts";
import { engineOptions, readEngine } from "./train-options.ts";

export const sampleCommand = defineCommand({
  name: "sample",
  summary: "Draw a picture with a base model and any number of LoRAs.",
  positionals: [],
  options: {
    base: { kind: "text", value: "MODEL", about: "Base model: mini, or a folder in the diffusers layout.", default: "mini" },
    lora: {
      kind: "text",
      value: "FILE[:WEIGHT]",
      about: "Adapter, and how strongly it acts.",
      default: "1, as trained",
      repeated: true,
    },
    prompt: { kind: "text", value: "TEXT", about: "What to draw. Required." },
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
    sampler: { kind: "text", value: "NAME", about: "Sampler.", default: "dpmpp_2m", choices: samplerNames },
    width: { kind: "integer", value: "PX", about: "Width.", default: "the base's own", min: 8 },
    height: { kind: "integer", value: "PX", about: "Height.", default: "the base's own", min: 8 },
    out: { kind: "text", value: "FILE.png", about: "Where the picture goes. Required." },
    ...engineOptions,
  },
  examples: [
    'gesso sample --base mini --prompt "a red apple" --out apple.png',
    'gesso sample --lora mystyle.safetensors:0.8 --prompt "mystyle, a red apple" --out apple.png',
  ],
  async run({ options }, terminal) {
    const { prompt, out } = options;
    if (prompt === undefined || out === undefined)
      throw missing(prompt === undefined ? "--prompt with what to draw" : "--out with the name of a .png file");
    const adapters = (options.lora ?? []).map(parseLora);
    await checkOutput(out);
    const base = await openBase(options.base ?? "mini");
    const engine = await chooseEngine(readEngine(options), process.env);
    const startedAt = performance.now();
    terminal.status("drawing");
    const [picture] = await sample({
      base,
      createEngine: () => createChosenEngine(engine),
      adapters,
      prompts: [prompt],
      negativePrompt: options.negative ?? "",
      seed: options.seed ?? 42,
      ...samplingDefaults(base),
      ...(options.steps === undefined ? {} : { steps: options.steps }),
      ...(options.cfg === undefined ? {} : { guidance: options.cfg }),
      sampler: options.sampler ?? "dpmpp_2m",
      widthPx: options.width ?? base.nativeResolutionPx,
      heightPx: options.height ?? base.nativeResolutionPx,
      signal: terminal.signal,
    });
    if (!picture) throw new Error("sample: one picture needed, got none");
    await mkdir(dirname(out), { recursive: true });
    await writePng(out, picture);
    terminal.out(
      `${out}: ${picture.widthPx} x ${picture.heightPx} px, drawn in ${formatDuration(performance.now() - startedAt)}.`,
    );
    return 0;
  },
});

/** What suits a base; mini was made for less guidance. */
export function samplingDefaults({ name }: Pick<BaseModel, "name">): { steps: number; guidance: number } {
  return name === "mini" ? { steps: 20, guidance: 5 } : { steps: 25, guidance: 7 };
}

/**
 * "FILE" or "FILE:WEIGHT". Only what follows the last colon and is a number is a weight, so that C:\x.safetensors is a file.
 *
 * @throws UserError for a weight that is no number
 */
export function parseLora(text: string): { path: string; weight: number } {
  const [, path, after] = /^(.+):([^:\\/]*)$/.exec(text) ?? [];
  if (path === undefined || after === undefined) return { path: text, weight: 1 };
  const weight = Number(after);
  if (after.trim() !== "" && Number.isFinite(weight)) return { path, weight };
  if (!/\.safetensors$/i.test(path)) return { path: text, weight: 1 };
  throw new UserError(`--lora ${text}: "${after}" is not a weight.`, {
    fix: `Give a number, such as ${path}:0.8.`,
    exitCode: 2,
  });
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
