/** gesso plan: what gesso train would do, why, and what it would take: memory, time, disk, money. Trains nothing, and leaves nothing behind but what is cached. */
import { openChosenBase } from "./base-options.ts";
import { defineCommand } from "./command.ts";
import { countFindings } from "./findings-page.ts";
import { describeProspect } from "./forecast-page.ts";
import { describePlan } from "./plan-page.ts";
import { countErrors, planRun, prospectOf, type ProspectedRun, readPrices } from "./plan-run.ts";
import { readChoices } from "./run-choices.ts";
import { planOptions, readTrainingEngine, trainHeadings } from "./train-options.ts";

export const planCommand = defineCommand({
  name: "plan",
  summary: "Say what gesso train would do with these options, why, and what it would take: memory, time, disk and money.",
  positionals: [{ name: "dataset", about: "Folder of pictures, as gesso train takes it.", required: true }],
  options: planOptions,
  headings: trainHeadings,
  examples: [
    "gesso plan ./pictures --type style --trigger mystyle",
    "gesso plan ./pictures --type character --trigger sks --base sdxl.safetensors --gpus 2",
    "gesso plan ./pictures --type style --trigger mystyle --prices my-prices.json --json",
  ],
  async run({ positionals: [dataset = ""], options }, terminal) {
    const prices = await readPrices(options.prices);
    const base = await openChosenBase(options);
    const planned = await planRun(dataset, base, await readChoices(dataset, base, options), readTrainingEngine(options));
    const run = await prospectOf(planned, base, prices, terminal);
    if (run === undefined) return 130;
    const errors = countErrors(run);
    if (options.json === true) terminal.out(JSON.stringify(asJson(run), undefined, 2));
    else {
      const { plan } = run.prospect;
      terminal.out(`${describePlan(plan, run.summary, terminal.columns)}\n`);
      terminal.out(describeProspect(run.prospect, terminal.columns, "full"));
      terminal.out(`\n${conclude(errors)}`);
    }
    return errors > 0 ? 1 : 0;
  },
});

function asJson({ summary: { report, ...dataset }, prospect }: ProspectedRun): object {
  const { counts, findings } = report;
  return { dataset: { ...dataset, counts, findings }, ...prospect };
}

function conclude(errors: number): string {
  return errors === 0
    ? "gesso train with the same options does this."
    : `gesso train would not begin this: ${countFindings(errors, 0)} to mend first.`;
}
