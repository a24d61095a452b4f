/** From a dataset folder and choices to a plan, with what the page before the run says of the dataset. */
import { join, resolve } from "node:path";
import { readFile } from "node:fs/promises";
import { UserError } from "../errors.ts";
import {
  type BaseModel,
  chooseEngine,
  type DatasetItem,
  type Dataset,
  type DatasetReport,
  describeDataset,
  type EngineRequest,
  type GpuPrices,
  insertTrigger,
  inspectDataset,
  parseGpuPrices,
  planTraining,
  prospectRun,
  readDataset,
  type RunProspect,
  type TrainPlan,
  type UserChoices,
  userCacheFolder,
  withHoldOut,
} from "../index.ts";
import type { Terminal } from "./command.ts";
import { followInspection } from "./inspect-progress.ts";
import type { DatasetSummary } from "./plan-page.ts";

export interface PlannedRun {
  readonly plan: TrainPlan;
  readonly summary: DatasetSummary;
}

/** What a command decides; where encodings are kept and the date are the same for all. */
export type RunChoices = Omit<UserChoices, "cacheFolder" | "createdAt">;

/** @throws UserError for a dataset, choices or an engine that cannot work */
export async function planRun(
  datasetFolder: string,
  base: BaseModel,
  choices: RunChoices,
  engine: EngineRequest,
): Promise<PlannedRun> {
  const dataset = await readDataset(resolve(datasetFolder), { skipBroken: choices.skipBroken ?? false });
  const device = await chooseEngine(engine, process.env);
  const cacheFolder = join(userCacheFolder(), "encoded");
  const plan = planTraining(describeDataset(dataset, { base, trigger: choices.trigger }), base, device, {
    ...choices,
    cacheFolder,
    createdAt: new Date().toISOString(),
  });
  return { plan, summary: summarise(dataset, plan.trigger.value) };
}

/** A plan with all that is known before it is carried out. */
export interface ProspectedRun {
  readonly summary: DatasetSummary & { readonly report: DatasetReport };
  /** Its plan is fitted to this machine. */
  readonly prospect: RunProspect;
}

/**
 * Plans a run, inspects its dataset, and forecasts it. Undefined when it was stopped.
 *
 * @throws UserError for a dataset, choices or an engine that cannot work
 */
export async function prospectOf(
  { plan: planned, summary }: PlannedRun,
  base: BaseModel,
  prices: GpuPrices | undefined,
  terminal: Terminal,
): Promise<ProspectedRun | undefined> {
  const { type, trigger, resolutionPx, bucketStepPx, batch, accumulation, defaultCaption, datasetFolder } = planned;
  const events = inspectDataset(datasetFolder.value, {
    base,
    type: type.value,
    trigger: trigger.value ?? undefined,
    resolutionPx: resolutionPx.value,
    bucketStepPx: bucketStepPx.value,
    batch: batch.value * accumulation.value,
    holdOut: { seed: planned.seed.value, share: planned.heldOutFraction.value },
    defaultCaption: defaultCaption.value,
    signal: terminal.signal,
  });
  const inspected = await followInspection(events, terminal);
  if (inspected === undefined) return undefined;
  const report = withoutMended(inspected);
  const plan = withHoldOut(planned, report.holdOut);
  terminal.status("measuring this machine and forecasting the run");
  const prospect = await prospectRun(plan, base, { prices });
  terminal.status("");
  return { summary: { ...summary, report }, prospect };
}

/** Findings that would waste the run, of dataset and plan together. */
export function countErrors({ summary, prospect }: ProspectedRun): number {
  const ofPlan = (prospect.plan.findings ?? []).filter(({ severity }) => severity === "error");
  return summary.report.counts.error + ofPlan.length;
}

/** Findings that will probably show in the result. */
export function countWarnings({ summary, prospect }: ProspectedRun): number {
  const ofPlan = (prospect.plan.findings ?? []).filter(({ severity }) => severity === "warning");
  return summary.report.counts.warning + ofPlan.length;
}

/** Findings that training mends by itself. */
const mendedByTraining: ReadonlySet<string> = new Set(["trigger.absent"]);

function withoutMended(report: DatasetReport): DatasetReport {
  const findings = report.findings.filter(({ id }) => !mendedByTraining.has(id));
  const count = (severity: "error" | "warning" | "info"): number =>
    findings.filter((finding) => finding.severity === severity).length;
  return { ...report, findings, counts: { error: count("error"), warning: count("warning"), info: count("info") } };
}

/** @throws UserError when the file cannot be read, or is no table of prices */
export async function readPrices(path: string | undefined): Promise<GpuPrices | undefined> {
  if (path === undefined) return undefined;
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new UserError(`Cannot read ${path}: ${(error as Error).message}.`, {
      fix: "Give the path of a table of prices as JSON.",
      cause: error,
    });
  });
  return parseGpuPrices(text, path);
}

function summarise({ folder, items, findings }: Dataset, trigger: string | null): DatasetSummary {
  const sides = items.map(sidesOf).sort((a, b) => a[0] * a[1] - b[0] * b[1]);
  return {
    folder,
    pictures: items.length,
    captioned: items.filter(({ caption }) => caption !== "").length,
    masked: items.filter(({ maskPath }) => maskPath !== undefined).length,
    triggerAdded: items.filter(({ caption }) => insertTrigger(caption, trigger ?? "").isAdded).length,
    smallest: sides[0] ?? [0, 0],
    largest: sides.at(-1) ?? [0, 0],
    findings,
  };
}

function sidesOf({ widthPx, heightPx }: DatasetItem): readonly [number, number] {
  return [widthPx, heightPx];
}
