/** gesso demo: trains on a bundled example with the bundled base model, and shows what it changed. */
import { formatBytes } from "../bytes.ts";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findNearest, UserError } from "../errors.ts";
import {
  type BaseModel,
  insertTrigger,
  type LoraType,
  loraTypes,
  openBase,
  type Pixels,
  renderSheet,
  sample,
  train,
  type TrainPlan,
  writePng,
} from "../index.ts";
import { defineCommand, type Terminal } from "./command.ts";
import { followRun, type RunDone } from "./follow-run.ts";
import { formatDuration, labelled, quotePath, wrapText } from "./format.ts";
import { toldOnPage } from "./plan-page.ts";
import { planRun } from "./plan-run.ts";
import { formatRatio } from "./progress.ts";
import { samplingDefaults } from "./sample.ts";

const DEFAULT_EXAMPLE = "style-blueprint";

export const demoCommand = defineCommand({
  name: "demo",
  summary: "Train on a bundled example with mini, on the CPU, and show before and after.",
  positionals: [],
  options: {
    example: { kind: "text", value: "NAME", about: "Folder of examples/ to train on.", default: DEFAULT_EXAMPLE },
    out: { kind: "text", value: "DIR", about: "Folder that the run's own folder is made in.", default: "runs" },
    steps: { kind: "integer", value: "N", about: "Training steps.", default: "by the number of pictures", min: 1 },
  },
  examples: ["gesso demo", "gesso demo --example character-fox"],
  async run({ options }, terminal) {
    const name = options.example ?? DEFAULT_EXAMPLE;
    // The examples lie beside `src` and `dist` alike.
    const example = await readExample(fileURLToPath(new URL("../../examples", import.meta.url)), name);
    return runDemo({ example, base: await openBase("mini"), outFolder: options.out ?? "runs", steps: options.steps }, terminal);
  },
});

/** A bundled dataset and what to show of it. */
export interface Example {
  readonly name: string;
  readonly folder: string;
  readonly trigger: string;
  readonly type: LoraType;
  /** Subjects that none of its pictures shows, without the trigger word. */
  readonly prompts: readonly string[];
}

/** @throws UserError when there is no such example, or its demo.json is damaged */
export async function readExample(examplesFolder: string, name: string): Promise<Example> {
  const names = await readdir(examplesFolder).catch(() => [] as string[]);
  if (!names.includes(name)) {
    const nearest = findNearest(name, names);
    const fix = nearest ? `Did you mean ${nearest}?` : `There are: ${names.join(", ") || "none; install Gesso again"}.`;
    throw new UserError(`There is no example "${name}" in ${examplesFolder}.`, { fix, exitCode: 2 });
  }
  const folder = join(examplesFolder, name);
  const path = join(folder, "demo.json");
  const json = await readJson(path);
  const { trigger, prompts } = json;
  const type = loraTypes.find((known) => known === json.type);
  const isList = Array.isArray(prompts) && prompts.length > 0 && prompts.every((prompt) => typeof prompt === "string");
  if (typeof trigger !== "string" || !type || !isList) {
    throw new UserError(`${path} needs a trigger, a type (${loraTypes.join(", ")}) and a list of prompts.`, {
      fix: "Install Gesso again.",
    });
  }
  return { name, folder, trigger, type, prompts };
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${(error as Error).message}.`, { fix: "Install Gesso again.", cause: error });
  }
}

export interface DemoOptions {
  readonly example: Example;
  readonly base: BaseModel;
  /** The run's folder is made in it. */
  readonly outFolder: string;
  readonly steps: number | undefined;
}

/** @returns the exit code */
export async function runDemo({ example, base, outFolder, steps }: DemoOptions, terminal: Terminal): Promise<number> {
  const runFolder = await findFreeFolder(join(outFolder, `demo-${example.name}`));
  const choices = {
    name: example.trigger,
    runFolder,
    base: base.name === "mini" ? "mini" : base.folder,
    type: example.type,
    trigger: example.trigger,
    steps,
    // The sheet at the end shows more than previews would.
    previewPrompts: [],
  };
  // What a demo shows, it shows with npm alone.
  const { plan, summary } = await planRun(example.folder, base, choices, { engine: "ort" });
  terminal.out(introduce(example, base, plan, terminal.columns));
  return followRun(train(plan, { signal: terminal.signal }), terminal, {
    told: toldOnPage(plan, summary),
    onDone: async (done) => {
      const sheetPath = join(runFolder, "before-after.png");
      await drawSheet(sheetPath, example, base, plan, done, terminal);
      terminal.out(await conclude(example, base, done, sheetPath, terminal.columns));
    },
  });
}

/** The folder, or the first of "-2", "-3", ... that is not there: every demo is a run of its own. */
async function findFreeFolder(folder: string): Promise<string> {
  for (let count = 1; ; count++) {
    const candidate = count === 1 ? folder : `${folder}-${count}`;
    const isThere = await stat(candidate).then(
      () => true,
      () => false,
    );
    if (!isThere) return candidate;
  }
}

function introduce(
  { name, folder, trigger, type, prompts }: Example,
  base: BaseModel,
  plan: TrainPlan,
  columns: number,
): string {
  const steps = plan.steps.value;
  const paragraphs = [
    `This demo teaches ${base.name}, a small image model, a ${type} that it has never seen, on this machine's processor.`,
    `1. It trains an adapter, a LoRA, on the pictures in ${folder}, for ${steps} steps. The word "${trigger}" is put into every caption, so that it will call up the ${type}.`,
    `2. Some pictures are held back. The loss on them, compared with ${base.name}'s own, tells whether the adapter learns the ${type} or copies the pictures.`,
    `3. At the end ${base.name} draws ${prompts.length} subjects that none of the pictures shows: alone, and with the adapter.`,
  ];
  return [`Demo: ${name}`, "", ...paragraphs.map((text) => wrapText(text, columns)), ""].join("\n");
}

/** One column for each prompt; the same seed down each column. */
async function drawSheet(
  path: string,
  example: Example,
  base: BaseModel,
  plan: TrainPlan,
  { event }: RunDone,
  terminal: Terminal,
): Promise<void> {
  const { trigger, prompts } = example;
  const triggered = prompts.map((prompt) => insertTrigger(prompt, trigger).caption);
  const adapter = [{ path: event.path, weight: 1 }];
  const rows = [
    { label: `${base.name} alone`, prompts, adapters: [] },
    { label: `with the LoRA, "${trigger}" in the prompt`, prompts: triggered, adapters: adapter },
    { label: `with the LoRA, without "${trigger}"`, prompts, adapters: adapter },
  ];
  const settings = { ...samplingDefaults(base), sampler: "dpmpp_2m", seed: plan.seed.value };
  const side = base.nativeResolutionPx;
  const tiles: (readonly Pixels[])[] = [];
  if (!terminal.isInteractive) terminal.out("Drawing before and after ...");
  for (const [row, { prompts, adapters }] of rows.entries()) {
    const onPicture = (done: number): void =>
      terminal.status(`drawing before and after: ${row * prompts.length + done}/${rows.length * prompts.length}`);
    onPicture(0);
    tiles.push(
      await sample({
        base,
        prompts,
        adapters,
        negativePrompt: "",
        ...settings,
        widthPx: side,
        heightPx: side,
        signal: terminal.signal,
        onPicture,
      }),
    );
  }
  terminal.status("");
  const note = `Same seed down each column. ${settings.steps} steps of DPM++ 2M Karras, guidance ${settings.guidance}. LoRA of step ${event.step}.`;
  const title = `${example.name}: before and after`;
  await writePng(path, await renderSheet({ title, columns: prompts, rows: rows.map(({ label }) => label), tiles, note }));
}

async function conclude(
  { type, trigger }: Example,
  base: BaseModel,
  { event, durationMs }: RunDone,
  sheetPath: string,
  columns: number,
): Promise<string> {
  const { size } = await stat(event.path);
  // Started by npm in a clone, the command is reached through npm too.
  const gesso = process.env.npm_lifecycle_event === "demo" ? "npm run --silent gesso --" : "gesso";
  const ratio = event.ratio === null ? "not measured" : `${formatRatio(event.ratio)} of ${base.name}'s own`;
  return [
    "",
    "Done.",
    ...labelled(
      [
        ["Before and after", sheetPath],
        ["Training time", formatDuration(durationMs)],
        ["Held-out loss", ratio],
        ["Kept", `step ${event.step}. ${event.reason}`],
        ["Adapter", `${event.path} (${formatBytes(size)})`],
        ["Report", event.report],
      ],
      columns,
    ),
    "",
    "Draw with it:",
    `  ${gesso} sample --base ${quotePath(base.name === "mini" ? "mini" : base.folder)} --lora ${quotePath(event.path)} --prompt "${trigger}, a red apple" --out apple.png`,
    "Train on your own pictures, each with a caption in a .txt file of the same name:",
    `  ${gesso} train ./pictures --type ${type} --trigger my${type}`,
  ].join("\n");
}
