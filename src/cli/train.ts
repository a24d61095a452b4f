/** gesso train: plans a run, says what it will do and why, carries it out, and says what came of it. */
import { basename, join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { type BaseModel, loraTypes, openBase, readAdapter, resumeTraining, targetSets, train } from "../index.ts";
import { defineCommand, type OptionTable, type OptionValues, type Terminal } from "./command.ts";
import { followRun } from "./follow-run.ts";
import { describePlan, toldOnPage } from "./plan-page.ts";
import { planRun, type RunChoices } from "./plan-run.ts";

const options = {
  base: { kind: "text", value: "MODEL", about: "Base model: mini, or a folder in the diffusers layout.", default: "mini" },
  type: { kind: "text", value: "KIND", about: "What to teach.", default: "concept", choices: loraTypes },
  trigger: { kind: "text", value: "WORD", about: "Word that calls up what was learnt; put in front of captions that lack it." },
  name: {
    kind: "text",
    value: "NAME",
    about: "Name of the run and of its result.",
    default: "the trigger word, or the dataset's name",
  },
  out: { kind: "text", value: "DIR", about: "Folder that the run's own folder is made in.", default: "runs" },
  steps: { kind: "integer", value: "N", about: "Training steps.", default: "by the number of pictures", min: 1 },
  seed: { kind: "integer", value: "N", about: "The same seed gives the same run.", default: "42", min: 0 },
  rank: {
    kind: "integer",
    value: "N",
    about: "Size of the adapter: more holds more detail, and learns by heart sooner.",
    min: 1,
  },
  alpha: { kind: "number", value: "N", about: "Strength: the adapter acts with alpha / rank." },
  targets: { kind: "text", value: "SET", about: "Layers that get an adapter.", default: "attention+ff", choices: targetSets },
  "learning-rate": { kind: "number", value: "X", about: "Of the UNet's adapter.", default: "by base, kind and batch", min: 0 },
  "text-encoder-learning-rate": {
    kind: "number",
    value: "X",
    about: "Of the text encoders' adapters; 0 leaves them alone.",
    min: 0,
  },
  batch: { kind: "integer", value: "N", about: "Pictures at once.", min: 1 },
  accumulate: { kind: "integer", value: "N", about: "Batches in a step.", default: "1", min: 1 },
  resolution: {
    kind: "integer",
    value: "PX",
    about: "Side of the square that pictures are scaled to in area.",
    default: "the base's own",
    min: 8,
  },
  "continue-from": { kind: "text", value: "FILE", about: "Adapter file to go on from, in a new run." },
  "skip-broken": { kind: "switch", about: "Leave pictures out that cannot be used, instead of stopping." },
  engine: { kind: "text", value: "NAME", about: "What computes.", default: "auto: ort, the CPU", choices: ["auto", "ort"] },
  resume: { kind: "text", value: "DIR", about: "Go on with the stopped run in this folder, exactly where it stood." },
  json: { kind: "switch", about: "Print events as JSON, one a line, and nothing else." },
} as const satisfies OptionTable;

type TrainOptions = OptionValues<typeof options>;

export const trainCommand = defineCommand({
  name: "train",
  summary: "Train a LoRA on a folder of pictures, each with a caption in a .txt file of the same name.",
  positionals: [{ name: "dataset", about: "Folder of pictures (png, jpg, webp, avif, gif, tiff).", required: false }],
  options,
  examples: [
    "gesso train ./pictures --type style --trigger mystyle",
    "gesso train ./pictures --type character --trigger sks --base ./sdxl-base --rank 32 --steps 2000",
    "gesso train --resume runs/mystyle",
  ],
  async run({ positionals: [dataset], options }, terminal) {
    if (options.resume !== undefined) return resume(options.resume, dataset, options, terminal);
    if (dataset === undefined) {
      throw new UserError("gesso train needs a folder of pictures, or --resume with the folder of a run.", {
        fix: "For example: gesso train ./pictures --type style --trigger mystyle",
        exitCode: 2,
      });
    }
    return startRun(dataset, options, terminal);
  },
});

async function startRun(dataset: string, options: TrainOptions, terminal: Terminal): Promise<number> {
  const base = await openBase(options.base ?? "mini");
  const { plan, summary } = await planRun(dataset, base, await readChoices(dataset, base, options));
  const isJson = options.json === true;
  if (!isJson) terminal.out(`${describePlan(plan, summary, terminal.columns)}\n`);
  return followRun(train(plan, { signal: terminal.signal }), terminal, { isJson, told: toldOnPage(plan, summary) });
}

/** The options as the planner's choices. Paths are made absolute, so that the run can be resumed from anywhere. */
async function readChoices(dataset: string, base: BaseModel, options: TrainOptions): Promise<RunChoices> {
  const name = options.name ?? defaultName(options.trigger ?? basename(resolve(dataset)));
  const adapter = options["continue-from"] === undefined ? undefined : await readAdapterShape(options["continue-from"], base);
  return {
    name,
    runFolder: join(options.out ?? "runs", name),
    base: options.base === undefined || options.base === "mini" ? "mini" : resolve(options.base),
    type: options.type === undefined ? "concept" : requireOneOf(options.type, loraTypes),
    trigger: options.trigger,
    steps: options.steps,
    seed: options.seed,
    rank: options.rank ?? adapter?.rank,
    alpha: options.alpha ?? adapter?.alpha,
    targets: options.targets === undefined ? undefined : requireOneOf(options.targets, targetSets),
    learningRate: options["learning-rate"],
    textEncoderLearningRate: options["text-encoder-learning-rate"],
    batch: options.batch,
    accumulation: options.accumulate,
    resolutionPx: options.resolution,
    continueFrom: adapter?.path,
    skipBroken: options["skip-broken"],
  };
}

/** The option table has checked the text already; this tells the compiler so. */
function requireOneOf<T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw new Error(`train: one of ${allowed.join(", ")} needed, got ${text}`);
  return found;
}

/** A trigger or folder name as a file name. */
function defaultName(text: string): string {
  const name = text
    .replace(/[\\/:*?"<>|\u0000-\u001f]+/g, "-")
    .replace(/\s+/g, "-")
    .replace(/^[.-]+|[.-]+$/g, "");
  return name === "" ? "lora" : name;
}

/** An adapter goes on with its own rank and alpha unless others are asked for. */
async function readAdapterShape(
  path: string,
  base: BaseModel,
): Promise<{ path: string; rank: number | undefined; alpha: number | undefined }> {
  const { modules } = await readAdapter(path, base);
  const [first] = modules;
  const isEven = modules.every(({ rank, alpha }) => rank === first?.rank && alpha === first.alpha);
  return { path: resolve(path), rank: isEven ? first?.rank : undefined, alpha: isEven ? first?.alpha : undefined };
}

async function resume(folder: string, dataset: string | undefined, options: TrainOptions, terminal: Terminal): Promise<number> {
  const other = dataset ?? Object.keys(options).find((name) => !["resume", "json"].includes(name));
  if (other !== undefined) {
    throw new UserError(
      `A run that goes on keeps its settings: ${dataset === undefined ? `--${other}` : other} cannot be given with --resume.`,
      {
        fix: `gesso train --resume ${folder}`,
        exitCode: 2,
      },
    );
  }
  return followRun(resumeTraining(folder, { signal: terminal.signal }), terminal, { isJson: options.json === true });
}
