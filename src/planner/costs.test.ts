/** Money and time on rented cards, from variants whose work is known. */
import { expect, test } from "vitest";
import { compareCards, type CardVariant } from "./costs.ts";
import { type GpuCard, type GpuPrices, gpuPrices, parseGpuPrices } from "./gpu-prices.ts";
import { limits } from "./limits.ts";

function card(name: string, memoryGiB: number, typicalUsdPerHour: number, effectiveTflops: number): GpuCard {
  return { name, memoryGiB, lowUsdPerHour: typicalUsdPerHour / 2, typicalUsdPerHour, effectiveTflops, source: "a test" };
}

const small = card("small", 12, 0.3, 10);
const middle = card("middle", 24, 0.6, 40);
const large = card("large", 80, 6, 100);
const table: GpuPrices = { date: "2026-01", cards: [large, small, middle] };

/** A run of so many 10^15 operations; recomputing takes a third more of them and a third of the memory. */
function variants(petaflops: number, peakBytes: number): readonly CardVariant[] {
  const of = (recompute: boolean, work: number, bytes: number): CardVariant => {
    return { recompute, batch: 1, accumulation: 1, peakBytes: bytes, secondsAt: (rate) => (work * 1e15) / rate };
  };
  return [of(true, (4 / 3) * petaflops, peakBytes / 3), of(false, petaflops, peakBytes)];
}

test("each card takes the fastest way that fits it, and costs its price for the renting and the work together", () => {
  const { cards, cheapest, fastest, tooSmall } = compareCards(table, variants(36, 30e9));
  const by = Object.fromEntries(cards.map((cost) => [cost.card.name, cost]));
  expect(cards.map((cost) => [cost.card.name, cost.recompute])).toEqual([
    ["middle", true],
    ["small", true],
    ["large", false],
  ]);
  // 36 x 10^15 operations at 100 x 10^12 a second are 6 minutes, and renting takes 5 more.
  expect(by.large).toMatchObject({ workMinutes: 6, minutes: 11 });
  expect(by.large?.typicalUsd).toBeCloseTo((6 * 11) / 60, 12);
  expect(by.large?.lowUsd).toBeCloseTo((3 * 11) / 60, 12);
  expect(by.large?.worstUsd).toBeCloseTo(1.5 * ((6 * 11) / 60), 12);
  expect(by.small?.workMinutes).toBeCloseTo(80, 9);
  expect({ cheapest, fastest, tooSmall }).toEqual({ cheapest: "middle", fastest: "large", tooSmall: [] });
});

test("a card must hold the run, CUDA's own part, and the margin", () => {
  const room = 12 * 2 ** 30 - limits.cardOverhead.value;
  const most = room / (1 + limits.memoryMargin.value);
  expect(compareCards(table, variants(1, 3 * most)).tooSmall).toEqual([]);
  expect(compareCards(table, variants(1, 3 * (most + 1e6))).tooSmall).toEqual(["small"]);
});

test("a run that fits no card has no costs", () => {
  expect(compareCards(table, variants(1, 300e9))).toEqual({
    date: "2026-01",
    cards: [],
    tooSmall: ["large", "small", "middle"],
    cheapest: undefined,
    fastest: undefined,
  });
});

test("where the work is over in seconds no card is called the fastest", () => {
  const { cards, fastest, cheapest } = compareCards(table, variants(0.01, 1e9));
  expect(cards.every(({ minutes, workMinutes }) => workMinutes < 0.02 && minutes < 5.02)).toBe(true);
  expect({ fastest, cheapest }).toEqual({ fastest: undefined, cheapest: "small" });
});

test("the table that comes with Gesso has a date, sane numbers, and a source for each card", () => {
  expect(gpuPrices.date).toMatch(/^20\d\d-\d\d$/);
  for (const { name, memoryGiB, lowUsdPerHour, typicalUsdPerHour, effectiveTflops, source } of gpuPrices.cards) {
    expect([name, lowUsdPerHour <= typicalUsdPerHour, memoryGiB >= 8, effectiveTflops > 1]).toEqual([name, true, true, true]);
    expect(source).toMatch(/prices: .*; rate: /);
  }
});

test("a table of one's own is read, and what is wrong in it is named with its place", () => {
  const own = { name: "mine", memoryGiB: 16, lowUsdPerHour: 0, typicalUsdPerHour: 0, effectiveTflops: 20 };
  const parse = (cards: unknown, date: unknown = "2026-11") => parseGpuPrices(JSON.stringify({ date, cards }), "prices.json");
  expect(parse([own])).toEqual({ date: "2026-11", cards: [{ ...own, source: "your table" }] });
  expect(() => parse([own], "")).toThrow("prices.json: the date of the prices is missing.");
  expect(() => parse([])).toThrow("prices.json: there are no cards in it.");
  expect(() => parse([own, { ...own, name: "" }])).toThrow("prices.json: card 2 has no name.");
  expect(() => parse([{ ...own, effectiveTflops: 0 }])).toThrow(
    "prices.json: card 1 (mine) needs effectiveTflops as a number above 0, got 0.",
  );
  expect(() => parse([{ ...own, lowUsdPerHour: "1" }])).toThrow('needs lowUsdPerHour as a number, got "1"');
  expect(() => parseGpuPrices("{", "prices.json")).toThrow(/^prices.json: it is not JSON/);
});
