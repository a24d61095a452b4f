/** What is known of a run before it begins: a plan that fits this machine, what it will take, and what it would cost elsewhere. */
import type { BaseConfigs } from "../checkpoints/base.ts";
import type { MeasuredDevice } from "../engines/choose.ts";
import { compareCards, type RunCosts } from "../planner/costs.ts";
import { type PlacedDose, placeDose } from "../planner/dose.ts";
import type { FitChange, FitFigures } from "../planner/fit.ts";
import type { GpuPrices } from "../planner/gpu-prices.ts";
import { settingsOf, type TrainPlan } from "../planner/plan.ts";
import { withFindings } from "../planner/rules/table.ts";
import { cardVariants } from "./card-variants.ts";
import { type DiskNeed, findFullDisk, measureDisk } from "./disk-need.ts";
import { chosenByUser, fitRun, forecaster } from "./fit-run.ts";
import type { DatasetLoad, RunForecast } from "./forecast/forecast.ts";
import { findFaults, findWrongEngine, type MachineNote } from "./machine-findings.ts";
import { findTooLarge } from "./remedies.ts";

/** Everything that is told of a run before it. Plain data: JSON holds all of it. */
export interface RunProspect {
  /** Fitted to the device. */
  readonly plan: TrainPlan;
  readonly dose: PlacedDose;
  readonly device: {
    readonly name: string;
    readonly memoryBytes: number;
    readonly freeBytes: number;
    readonly flopsPerSecond: number;
    readonly bytesPerSecond: number;
  };
  readonly forecast: RunForecast;
  readonly fit: {
    readonly fits: boolean;
    readonly tried: readonly (FitChange & FitFigures)[];
  };
  readonly disk: DiskNeed;
  /** What there is to know of the machine and does not stop the run. */
  readonly machine: readonly MachineNote[];
  readonly costs: RunCosts;
}

/** Plain data, too. */
export interface ProspectInput {
  readonly plan: TrainPlan;
  readonly base: BaseConfigs;
  readonly load: DatasetLoad;
  readonly device: MeasuredDevice;
  /** What doctor found. */
  readonly machine?: readonly MachineNote[] | undefined;
  readonly prices: GpuPrices;
  /** What the process that will train holds. */
  readonly residentBytes: number;
}

/** A few seconds for SDXL: its graphs are built and counted, nothing is run. */
export async function prospectRun({
  plan,
  base,
  load,
  device,
  machine = [],
  prices,
  residentBytes,
}: ProspectInput): Promise<RunProspect> {
  const { profile, freeBytes } = device;
  const settings = settingsOf(plan);
  const forecast = forecaster(settings, { base, load, device, residentBytes });
  const { fit, plan: fitted } = fitRun({ plan, device, forecast });
  const costs = compareCards(prices, cardVariants(settings, base, load, chosenByUser(plan)));
  const disk = await measureDisk(settingsOf(fitted), fit.chosen.forecast, load);
  const findings = [
    ...findFaults(machine),
    ...findWrongEngine(profile.name, device.check),
    ...(fit.fits ? [] : [findTooLarge({ settings, fit, device, costs, forecast })]),
    ...findFullDisk(disk),
  ];
  return {
    plan: withFindings(fitted, findings),
    dose: placeDose(settingsOf(fitted)),
    device: {
      name: profile.name,
      memoryBytes: profile.memoryBytes,
      freeBytes,
      flopsPerSecond: profile.flopsPerSecond,
      bytesPerSecond: profile.bytesPerSecond,
    },
    forecast: fit.chosen.forecast,
    fit: { fits: fit.fits, tried: fit.tried.map(({ change, figures }) => ({ ...change, ...figures })) },
    disk,
    machine: machine.filter(({ mark }) => mark === "mind"),
    costs,
  };
}
