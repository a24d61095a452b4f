/** gesso train: plans a run, says what it will do and why, carries it out, and says what came of it. */
import { UserError } from "../errors.ts";
import { readPlan, resumeTraining, type TrainPlan } from "../index.ts";
import { countOf } from "../words.ts";
import { askForMissing } from "./ask.ts";
import { openChosenBase } from "./base-options.ts";
import { defineCommand, type Terminal } from "./command.ts";
import { followRun } from "./follow-run.ts";
import { wrapText } from "./format.ts";
import { planRun, prospectOf, readPrices } from "./plan-run.ts";
import { readChoices } from "./run-choices.ts";
import { startRun } from "./start-run.ts";
import { readTrainingEngine, trainHeadings, type TrainOptions, trainOptions } from "./train-options.ts";

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
  async run({ positionals: [given], options: typed }, terminal) {
    if (typed.resume !== undefined) return resume(typed.resume, given, typed, terminal);
    const { dataset, options, isStopped } = await askForMissing(given, typed, terminal);
    if (isStopped) return 130;
    if (dataset === undefined) {
      throw new UserError("gesso train needs a folder of pictures, or --resume with the folder of a run.", {
        fix: "For example: gesso train ./pictures --type style --trigger mystyle",
        exitCode: 2,
      });
    }
    return begin(dataset, options, terminal);
  },
});

async function begin(dataset: string, options: TrainOptions, terminal: Terminal): Promise<number> {
  const prices = await readPrices(options.prices);
  const base = await openChosenBase(options);
  const planned = await planRun(dataset, base, await readChoices(dataset, base, options), readTrainingEngine(options));
  const isJson = options.json === true;
  // Nothing but events goes to the output then.
  const quiet = isJson ? { ...terminal, signal: terminal.signal, status: () => undefined } : terminal;
  const run = await prospectOf(planned, base, prices, quiet);
  if (run === undefined) return 130;
  const { yes = false, strict = false, torchrun } = options;
  return startRun(run, { isJson, yes, strict, preflight: options["no-preflight"] !== true, torchrun }, terminal);
}

/** Options that may stand beside --resume: none of them changes the plan. */
const besideResume: ReadonlySet<string> = new Set(["resume", "json", "python", "torchrun", "yes", "no-preflight"]);

async function resume(folder: string, dataset: string | undefined, options: TrainOptions, terminal: Terminal): Promise<number> {
  const other = dataset ?? Object.keys(options).find((name) => !besideResume.has(name));
  if (other !== undefined) {
    throw new UserError(
      `A run that goes on keeps its settings: ${dataset === undefined ? `--${other}` : other} cannot be given with --resume.`,
      {
        fix: `gesso train --resume ${folder}`,
        exitCode: 2,
      },
    );
  }
  const isJson = options.json === true;
  if (!isJson) terminal.out(wrapText(describeResumed(await readPlan(folder), folder), terminal.columns));
  const preflight = options["no-preflight"] !== true;
  const { python, torchrun } = options;
  return followRun(resumeTraining(folder, { signal: terminal.signal, python, torchrun, preflight }), terminal, { isJson });
}

/** What the run is, for who has forgotten. */
function describeResumed({ type, base, trigger, steps }: TrainPlan, folder: string): string {
  const word = trigger.value === null ? "" : `, trigger word "${trigger.value}"`;
  return `Going on with ${folder}: a ${type.value} on ${base.reason}${word}, ${countOf(steps.value, "step")} in all, as its plan.json says.`;
}
