/** gesso train: plans a run, says what it will do and why, carries it out, and says what came of it. */
import { UserError } from "../errors.ts";
import { resumeTraining, train } from "../index.ts";
import { openChosenBase } from "./base-options.ts";
import { defineCommand, type Terminal } from "./command.ts";
import { followRun } from "./follow-run.ts";
import { describePlan, toldOnPage } from "./plan-page.ts";
import { planRun } from "./plan-run.ts";
import { readChoices } from "./run-choices.ts";
import { readEngine, trainHeadings, type TrainOptions, trainOptions } from "./train-options.ts";

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
  const { plan, summary } = await planRun(dataset, base, await readChoices(dataset, base, options), readEngine(options));
  const isJson = options.json === true;
  if (!isJson) terminal.out(`${describePlan(plan, summary, terminal.columns)}\n`);
  return followRun(train(plan, { signal: terminal.signal }), terminal, { isJson, told: toldOnPage(plan, summary) });
}

async function resume(folder: string, dataset: string | undefined, options: TrainOptions, terminal: Terminal): Promise<number> {
  const other = dataset ?? Object.keys(options).find((name) => !["resume", "json", "python"].includes(name));
  if (other !== undefined) {
    throw new UserError(
      `A run that goes on keeps its settings: ${dataset === undefined ? `--${other}` : other} cannot be given with --resume.`,
      {
        fix: `gesso train --resume ${folder}`,
        exitCode: 2,
      },
    );
  }
  return followRun(resumeTraining(folder, { signal: terminal.signal, python: options.python }), terminal, {
    isJson: options.json === true,
  });
}
