/** What a run will take, as a page: memory term by term, time phase by phase, disk, and money on rented cards. */
import { formatBytes } from "../bytes.ts";
import { type CardCost, planLimits as limits, type RunProspect } from "../index.ts";
import { formatDuration, wrapText } from "./format.ts";

const INDENT = 2;

/** How much is told: every term and card, or the sums. */
export type Detail = "full" | "short";

/** Memory, time, disk and money, without a line end. */
export function describeProspect(prospect: RunProspect, columns: number, detail: Detail): string {
  const notes = prospect.machine.map(({ message, mend }) => `${message} ${mend}`);
  const machine = notes.length > 0 ? [["Machine", ...notes]] : [];
  const sections = [memoryLines(prospect, detail), timeLines(prospect, detail), diskLines(prospect), ...machine];
  const money = moneyLines(prospect, detail);
  return [...sections, money].map(([title = "", ...lines]) => section(title, lines, columns)).join("\n\n");
}

/** Sentences are broken where the window ends, rows of tables are not: their columns would be lost. */
function section(title: string, lines: readonly string[], columns: number): string {
  const shown = lines.map((line) => (line.includes("  ") ? line : wrapText(line, columns, INDENT)));
  return [title, ...shown.map((line) => " ".repeat(INDENT) + line)].join("\n");
}

/** Cells in columns, two spaces between them; the last is not padded. */
function table(rows: readonly (readonly string[])[], alignRight: readonly number[] = []): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, i) => {
        if (alignRight.includes(i)) return cell.padStart(widths[i] ?? 0);
        return i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0);
      })
      .join("  ")
      .trimEnd(),
  );
}

function memoryLines({ forecast, device, fit }: RunProspect, detail: Detail): readonly string[] {
  const { peakBytes, peakAt, terms } = forecast.memory;
  const verdict = fit.fits ? "" : ": it does not fit";
  const head = `at most ${formatBytes(peakBytes)} in ${phaseNames[peakAt]}, of ${formatBytes(device.freeBytes)} free on ${device.name}${verdict}`;
  if (detail === "short") return ["Memory", head];
  const largest = [...terms].sort((a, b) => b.bytes - a.bytes);
  return [
    "Memory",
    head,
    ...table(
      largest.map(({ name, bytes, about }) => [`  ${name}`, formatBytes(bytes), about]),
      [1],
    ),
  ];
}

const phaseNames: { readonly [K in RunProspect["forecast"]["memory"]["peakAt"]]: string } = {
  encoding: "encoding",
  training: "training",
  validation: "validation",
  preview: "previews",
};

function timeLines({ forecast, plan, device }: RunProspect, detail: Detail): readonly string[] {
  const { totalSeconds, stepSeconds, terms } = forecast.time;
  const head = `about ${seconds(totalSeconds)}, by the measured rates of ${device.name}`;
  if (detail === "short") {
    const steps = `${plan.steps.value} steps of ${seconds(stepSeconds)}: ${seconds(plan.steps.value * stepSeconds)}`;
    const others = terms.filter(
      ({ name, seconds: each, times }) => name !== "steps" && each * times > restShare * totalSeconds,
    );
    return [
      "Time",
      `${head}:`,
      [steps, ...others.map((term) => `${term.name}: ${seconds(term.seconds * term.times)}`)].join("; "),
    ];
  }
  const rows = terms
    .filter((term) => term.seconds * term.times > 0)
    .map((term) => [
      `  ${term.name}`,
      seconds(term.seconds * term.times),
      term.times === 1 ? term.about : `${term.times} x ${seconds(term.seconds)}, ${term.about}`,
    ]);
  return ["Time", head, ...table(rows, [1])];
}

/** What takes less of the time is not told in short. */
const restShare = 0.02;

function seconds(value: number): string {
  return formatDuration(1000 * value);
}

function diskLines({ disk }: RunProspect): readonly string[] {
  const parts = disk.map(({ what, bytes, freeBytes }) => {
    const free = freeBytes === undefined ? "" : `, ${formatBytes(freeBytes)} free`;
    return `at most ${formatBytes(bytes)} in ${what}${free}`;
  });
  return ["Disk", ...parts];
}

function moneyLines({ costs, forecast }: RunProspect, detail: Detail): readonly string[] {
  const title = `On a rented card (prices of ${costs.date}, rates by rule of thumb; --prices FILE for your own)`;
  const { cheapest, fastest, cards, tooSmall } = costs;
  if (cheapest === undefined) return [title, "It fits no card of the table."];
  const mark = ({ card: { name } }: CardCost): string =>
    [...(name === cheapest ? ["cheapest"] : []), ...(name === fastest ? ["fastest"] : [])].join(", ");
  const shown = detail === "full" ? cards : cards.filter((cost) => mark(cost) !== "");
  const header = ["card", "memory", "training", "all in all", "costs", `at worst (x ${limits.worstCase.value})`, ""];
  const rows = shown.map((cost) => [
    cost.card.name,
    `${cost.card.memoryGiB} GB`,
    seconds(60 * cost.workMinutes),
    formatDuration(60_000 * cost.minutes),
    `$${dollars(cost.lowUsd)} to ${dollars(cost.typicalUsd)}`,
    `${formatDuration(60_000 * cost.worstMinutes)}, $${dollars(cost.worstUsd)}`,
    [mark(cost), cost.recompute ? "recomputing" : "", cost.accumulation > 1 ? `batch ${cost.batch} x ${cost.accumulation}` : ""]
      .filter((part) => part !== "")
      .join("; "),
  ]);
  const start = limits.cardStart.value;
  const small = tooSmall.length > 0 && detail === "full" ? [`Too small: ${tooSmall.join(", ")}.`] : [];
  const equal =
    fastest === undefined
      ? [`The work is small: ${start} min to rent a machine and get it ready are nearly all of it, on each card.`]
      : detail === "full"
        ? [`All in all counts ${start} min to rent a machine and get it ready.`]
        : [];
  const isFasterHere = cards.every(({ minutes }) => 60 * minutes > forecast.time.totalSeconds);
  const here = isFasterHere ? [`This machine would be done sooner, in ${seconds(forecast.time.totalSeconds)}.`] : [];
  return [title, ...table([header, ...rows], [1, 2, 3]), ...equal, ...here, ...small];
}

function dollars(usd: number): string {
  return usd < 10 ? usd.toFixed(2) : usd.toFixed(0);
}
