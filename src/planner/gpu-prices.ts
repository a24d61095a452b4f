/** What rented GPUs cost and how fast they train a UNet: a dated table, to be replaced with --prices where prices have moved. */
import { UserError } from "../errors.ts";

export interface GpuCard {
  readonly name: string;
  readonly memoryGiB: number;
  /** On marketplaces of private machines, and on demand from a usual provider, in US dollars for an hour. */
  readonly lowUsdPerHour: number;
  readonly typicalUsdPerHour: number;
  /** Floating-point operations that a LoRA step on a UNet really gets done, in 10^12 a second, bfloat16. */
  readonly effectiveTflops: number;
  /** Of the price and of the rate. */
  readonly source: string;
}

export interface GpuPrices {
  /** When the prices were read: "2026-06". */
  readonly date: string;
  readonly cards: readonly GpuCard[];
}

const prices = "deploybase.ai (Mar 2026), aiapiplaybook (Jan 2026), gridstackhub (Jun 2026)";
const reported = "heuristic: 0.55 of what trainings of Flux reach on it";
const scaled = (from: string): string => `heuristic: ${from}, by their peak rates`;

/** Prices change weekly, rates with every trainer: good for which card, not for what the bill will be. */
export const gpuPrices: GpuPrices = {
  date: "2026-06",
  cards: [
    card("RTX 3090", 24, 0.22, 0.39, 14, "SDXL steps of 1.1 to 1.2 s reported"),
    card("RTX 4090", 24, 0.22, 0.47, 33, reported),
    card("RTX 5090", 32, 0.69, 1.22, 50, reported),
    card("L4", 24, 0.44, 0.78, 12, scaled("from the L40S")),
    card("L40S", 48, 0.4, 1.69, 36, reported),
    card("RTX PRO 6000", 96, 0.89, 1.57, 60, scaled("from the RTX 5090")),
    card("A100 80 GB", 80, 0.86, 1.92, 50, reported),
    card("H100", 80, 1.49, 3.73, 99, reported),
    card("H200", 141, 3.59, 6.35, 99, scaled("from the H100")),
    card("B200", 180, 5.98, 10.57, 150, reported),
  ],
};

function card(
  name: string,
  memoryGiB: number,
  lowUsdPerHour: number,
  typicalUsdPerHour: number,
  effectiveTflops: number,
  rate: string,
): GpuCard {
  return { name, memoryGiB, lowUsdPerHour, typicalUsdPerHour, effectiveTflops, source: `prices: ${prices}; rate: ${rate}` };
}

const numbers = ["memoryGiB", "lowUsdPerHour", "typicalUsdPerHour", "effectiveTflops"] as const;

/**
 * A table of one's own: `{"date": "2026-11", "cards": [{"name", "memoryGiB", "lowUsdPerHour", "typicalUsdPerHour", "effectiveTflops"}]}`.
 *
 * @param path for messages
 * @throws UserError naming the place in the file and what it must hold
 */
export function parseGpuPrices(text: string, path: string): GpuPrices {
  const wrong = (message: string): UserError =>
    new UserError(`${path}: ${message}`, {
      fix: 'It must hold {"date": "2026-11", "cards": [{"name": "RTX 4090", "memoryGiB": 24, "lowUsdPerHour": 0.22, "typicalUsdPerHour": 0.47, "effectiveTflops": 33}]}.',
    });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw wrong(`it is not JSON: ${(error as Error).message}.`);
  }
  const { date, cards } = (typeof json === "object" && json !== null ? json : {}) as Partial<Record<string, unknown>>;
  if (typeof date !== "string" || date === "") throw wrong("the date of the prices is missing.");
  if (!Array.isArray(cards) || cards.length === 0) throw wrong("there are no cards in it.");
  return { date, cards: cards.map((entry, i) => parseCard(entry, i, wrong)) };
}

function parseCard(entry: unknown, index: number, wrong: (message: string) => UserError): GpuCard {
  const row = (typeof entry === "object" && entry !== null ? entry : {}) as Readonly<Record<string, unknown>>;
  const place = `card ${index + 1}`;
  const { name, source } = row;
  if (typeof name !== "string" || name === "") throw wrong(`${place} has no name.`);
  const [memoryGiB = 0, lowUsdPerHour = 0, typicalUsdPerHour = 0, effectiveTflops = 0] = numbers.map((field) => {
    const value = row[field];
    // A card of one's own may cost nothing; it must still have memory and a rate.
    const least = field.endsWith("UsdPerHour") ? 0 : Number.MIN_VALUE;
    if (typeof value === "number" && Number.isFinite(value) && value >= least) return value;
    throw wrong(`${place} (${name}) needs ${field} as a number${least > 0 ? " above 0" : ""}, got ${JSON.stringify(value)}.`);
  });
  return {
    name,
    memoryGiB,
    lowUsdPerHour,
    typicalUsdPerHour,
    effectiveTflops,
    source: typeof source === "string" ? source : "your table",
  };
}
