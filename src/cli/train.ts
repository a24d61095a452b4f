/** gesso train: plans a run, says what it will do and why, carries it out, and says what came of it. */
import { basename, join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { type BaseModel, loraTypes, readAdapter, resumeTraining, train } from "../index.ts";
import { openChosenBase } from "./base-options.ts";
import { defineCommand, optionalOneOf, type Terminal } from "./command.ts";
import { followRun } from "./follow-run.ts";
import { describePlan, toldOnPage } from "./plan-page.ts";
import { planRun, type RunChoices } from "./plan-run.ts";
import { readSettings, readTrainingEngine, trainHeadings, type TrainOptions, trainOptions } from "./train-options.ts";

export const trainCommand = defineCommand({
  name: "train",
  summary: "Train a LoRA on a folder of pictures, each with a caption in a .txt file of the same name.",
  positionals: [{ name: "dataset", about: "Folder of pictures (png, jpg, webp, avif, gif, tiff).", required: false }],
  options: trainOptions,
  headings: trainHeadings,
  examples: [
    "gesso train ./pictures --type style --trigger mystyle",
    "gesso train ./pictures --type character --trigger sks --base sdxl.safetensors --steps 2000",
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
  const base = await openChosenBase(options);
  const { plan, summary } = await planRun(
    dataset,
    base,
    await readChoices(dataset, base, options),
    readTrainingEngine(options),
  );
  const isJson = options.json === true;
  if (!isJson) terminal.out(`${describePlan(plan, summary, terminal.columns)}\n`);
  return followRun(train(plan, { signal: terminal.signal, torchrun: options.torchrun }), terminal, {
    isJson,
    told: toldOnPage(plan, summary),
  });
}

/** The options as the planner's choices. Paths are made absolute, so that the run can be resumed from anywhere. */
async function readChoices(dataset: string, base: BaseModel, options: TrainOptions): Promise<RunChoices> {
  const name = options.name ?? defaultName(options.trigger ?? basename(resolve(dataset)));
  const adapter = options["continue-from"] === undefined ? undefined : await readAdapterShape(options["continue-from"], base);
  return {
    ...readSettings(options),
    name,
    runFolder: join(options.out ?? "runs", name),
    base: options.base === undefined || options.base === "mini" ? "mini" : resolve(options.base),
    type: optionalOneOf(options.type, loraTypes) ?? "concept",
    rank: options.rank ?? adapter?.rank,
    alpha: options.alpha ?? adapter?.alpha,
    continueFrom: adapter?.path,
  };
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
  const other = dataset ?? Object.keys(options).find((name) => !["resume", "json", "python", "torchrun"].includes(name));
  if (other !== undefined) {
    throw new UserError(
      `A run that goes on keeps its settings: ${dataset === undefined ? `--${other}` : other} cannot be given with --resume.`,
      {
        fix: `gesso train --resume ${folder}`,
        exitCode: 2,
      },
    );
  }
  const { python, torchrun } = options;
  return followRun(resumeTraining(folder, { signal: terminal.signal, python, torchrun }), terminal, {
    isJson: options.json === true,
  });
}
