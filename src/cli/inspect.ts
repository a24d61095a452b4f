/** gesso inspect: says what in a dataset would make training fail, before a GPU is paid for, and mends what is safe in a copy. */
import { resolve } from "node:path";
import { writeFile } from "node:fs/promises";
import { UserError } from "../errors.ts";
import { type DatasetReport, inspectDataset, inspectionFamilies, loraTypes, mendDataset } from "../index.ts";
import { defineCommand, optionalOneOf, type Terminal } from "./command.ts";
import { renderReportPage } from "./inspect-html.ts";
import { describeMends, describeReport } from "./inspect-page.ts";
import { followInspection } from "./inspect-progress.ts";

const bases = `mini, a base model as gesso train takes it, or a family: ${inspectionFamilies.join(", ")}`;

export const inspectCommand = defineCommand({
  name: "inspect",
  summary: "Say what in a dataset would make training fail, why, and how to mend it. Your files are only read.",
  positionals: [{ name: "dataset", about: "Folder of pictures with captions, as gesso train takes it.", required: true }],
  options: {
    base: { kind: "text", value: "BASE", about: `What will be trained: ${bases}.`, default: "mini" },
    type: { kind: "text", value: "TYPE", about: "What the LoRA is to teach.", choices: loraTypes, default: "concept" },
    trigger: { kind: "text", value: "WORD", about: "The trigger word that captions should have." },
    caption: { kind: "text", value: "TEXT", about: "Caption of pictures that have none." },
    resolution: { kind: "integer", value: "PX", about: "Side of the square to train at.", default: "the base's own", min: 64 },
    batch: { kind: "integer", value: "N", about: "Pictures in a batch.", default: "what gesso train would take", min: 1 },
    draw: {
      kind: "switch",
      about: "Ask the base whether the trigger word means more to it than invented words do; if so, draw it.",
    },
    html: { kind: "text", value: "FILE", about: "Write a page with thumbnails, buckets and copies side by side; one file." },
    json: { kind: "switch", about: "Print the whole report as JSON." },
    all: { kind: "switch", about: "Show every picture of a finding, why it matters and what the values were held against." },
    fix: { kind: "text", value: "DIR", about: "Carry out the safe mends in a copy of the dataset: a new folder." },
    strict: { kind: "switch", about: "End with exit code 1 when there are errors." },
  },
  examples: [
    "gesso inspect ./photos --base sdxl --type style --trigger inkwash",
    "gesso inspect ./photos --base pony --type character --trigger sks --html report.html",
    "gesso inspect ./photos --trigger sks --draw --html report.html",
    "gesso inspect ./photos --trigger sks --fix ./photos-mended",
  ],
  async run({ positionals: [dataset = ""], options }, terminal) {
    const events = inspectDataset(resolve(dataset), {
      base: options.base,
      type: optionalOneOf(options.type, loraTypes) ?? "concept",
      trigger: options.trigger,
      resolutionPx: options.resolution,
      batch: options.batch,
      defaultCaption: options.caption,
      drawTrigger: options.draw,
      signal: terminal.signal,
    });
    const report = await followInspection(events, terminal);
    if (report === undefined) return 130;
    const mended = options.fix === undefined ? undefined : await mendDataset(report, resolve(options.fix));
    if (options.json === true) terminal.out(JSON.stringify(mended ? { ...report, mended } : report, null, 2));
    else terminal.out(describeReport(report, { columns: terminal.columns, showAll: options.all === true }));
    if (mended && options.json !== true) terminal.out(`\n${describeMends(mended, terminal.columns)}`);
    if (options.html !== undefined) await writePage(options.html, report, terminal, options.json === true);
    return options.strict === true && report.counts.error > 0 ? 1 : 0;
  },
});

async function writePage(path: string, report: DatasetReport, terminal: Terminal, isQuiet: boolean): Promise<void> {
  const page = await renderReportPage(report);
  await writeFile(path, page).catch((error: unknown) => {
    throw new UserError(`Cannot write ${path}: ${(error as Error).message}.`, {
      fix: "Give another --html FILE.",
      cause: error,
    });
  });
  if (!isQuiet) terminal.out(`\nPage: ${path}`);
}
