/** What a run would take and cost on rented cards: on which it would be cheapest, on which fastest. Pure. */
import type { GpuCard, GpuPrices } from "./gpu-prices.ts";
import { limits } from "./limits.ts";
import { fits } from "./fit.ts";

/** A way to run the plan on a card: what it needs at its peak, and how long it takes at a rate. */
export interface CardVariant {
  readonly recompute: boolean;
  readonly batch: number;
  readonly accumulation: number;
  readonly peakBytes: number;
  /** Seconds of the whole run at so many operations a second, loading left out. */
  readonly secondsAt: (flopsPerSecond: number) => number;
}

/** What a run costs on one card. */
export interface CardCost {
  readonly card: GpuCard;
  readonly recompute: boolean;
  readonly batch: number;
  readonly accumulation: number;
  readonly peakBytes: number;
  /** Of the run itself; the rest of `minutes` is `limits.cardStart`. */
  readonly workMinutes: number;
  readonly minutes: number;
  readonly lowUsd: number;
  readonly typicalUsd: number;
  /** If all goes `limits.worstCase` times as slowly, at the typical price. */
  readonly worstMinutes: number;
  readonly worstUsd: number;
}

export interface RunCosts {
  /** Of the prices. */
  readonly date: string;
  /** Cards that the plan fits, cheapest first. */
  readonly cards: readonly CardCost[];
  readonly tooSmall: readonly string[];
  /** A name; undefined where it fits no card. */
  readonly cheapest: string | undefined;
  /** Undefined where it fits no card, and where all take about as long. */
  readonly fastest: string | undefined;
}

/** @param variants in any order; each card takes the fastest that fits it */
export function compareCards({ date, cards }: GpuPrices, variants: readonly CardVariant[]): RunCosts {
  const costs = cards.flatMap((card) => {
    const cost = costOn(card, variants);
    return cost ? [cost] : [];
  });
  const byPrice = costs.toSorted((a, b) => a.typicalUsd - b.typicalUsd || a.minutes - b.minutes);
  const byTime = costs.toSorted((a, b) => a.minutes - b.minutes || a.typicalUsd - b.typicalUsd);
  const fitting = new Set(costs.map(({ card }) => card.name));
  return {
    date,
    cards: byPrice,
    tooSmall: cards.filter(({ name }) => !fitting.has(name)).map(({ name }) => name),
    cheapest: byPrice[0]?.card.name,
    fastest: isSpread(byTime) ? byTime[0]?.card.name : undefined,
  };
}

function costOn(card: GpuCard, variants: readonly CardVariant[]): CardCost | undefined {
  const freeBytes = card.memoryGiB * 2 ** 30 - limits.cardOverhead.value;
  const timed = variants
    .filter(({ peakBytes }) => fits(peakBytes, freeBytes))
    .map((variant) => ({ ...variant, workMinutes: variant.secondsAt(card.effectiveTflops * 1e12) / 60 }))
    .sort((a, b) => a.workMinutes - b.workMinutes);
  const [best] = timed;
  if (!best) return undefined;
  const { recompute, batch, accumulation, peakBytes, workMinutes } = best;
  const minutes = limits.cardStart.value + workMinutes;
  const usd = (perHour: number): number => (perHour * minutes) / 60;
  return {
    card,
    recompute,
    batch,
    accumulation,
    peakBytes,
    workMinutes,
    minutes,
    lowUsd: usd(card.lowUsdPerHour),
    typicalUsd: usd(card.typicalUsdPerHour),
    worstMinutes: limits.worstCase.value * minutes,
    worstUsd: limits.worstCase.value * usd(card.typicalUsdPerHour),
  };
}

/** Whether the cards differ in time; a run that is over in seconds takes as long as the renting does on each. @param byTime ascending */
function isSpread(byTime: readonly CardCost[]): boolean {
  const [first, last] = [byTime[0], byTime.at(-1)];
  return (
    first !== undefined &&
    last !== undefined &&
    (byTime.length === 1 || last.minutes > first.minutes * (1 + limits.sameTime.value))
  );
}
