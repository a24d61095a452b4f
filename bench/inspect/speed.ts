/** What an inspection costs over decoding its pictures once, and how much of it a second one repeats: `npm run bench -- inspect`. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { inspectDataset } from "../../src/dataset/inspect.ts";
import { type Claim, formatMegabytes, median, row } from "../claim.ts";

const widthPx = 1152;
const heightPx = 896;
const target = {
  base: "sdxl",
  family: "sdxl",
  type: "style",
  trigger: undefined,
  resolutionPx: 1024,
  bucketStepPx: 64,
  batch: 1,
  captionHabit: "either",
  tokenizer: undefined,
} as const;

export const inspectSpeed: Claim = {
  name: "inspect",
  about: "gesso inspect over --pictures JPEG pictures of one megapixel, against the codec's bare decoding of them",
  async run({ machine, rounds, pictures }) {
    const folder = await mkdtemp(join(tmpdir(), "gesso-inspect-"));
    try {
      await writePictures(folder, pictures);
      // Once before the clock: the engine compiles what it runs often.
      await inspect(folder, undefined);
      const wall: number[] = [];
      const cpu: number[] = [];
      for (let round = 0; round < rounds; round++) {
        // The codec may give each picture one thread or several; the quicker way counts.
        const ways = [await clock(() => decodeAll(folder, 1)), await clock(() => decodeAll(folder, availableParallelism()))];
        const bare = { wallMs: Math.min(...ways.map((way) => way.wallMs)), cpuMs: Math.min(...ways.map((way) => way.cpuMs)) };
        const full = await clock(() => inspect(folder, undefined));
        wall.push(full.wallMs / bare.wallMs);
        cpu.push(full.cpuMs / bare.cpuMs);
      }
      const cache = join(folder, "cache");
      const memory = watchMemory();
      const first = await clock(() => inspect(folder, cache));
      const [early, late] = memory.stop();
      const second = await clock(() => inspect(folder, cache));
      return [
        `gesso inspect, ${pictures} JPEG pictures of ${widthPx} x ${heightPx} px, quality 90`,
        ...machine,
        row("wall", `${describeRatios(wall)} times the bare decoding; aim: at most 1.5`),
        row("processor", `${describeRatios(cpu)} times: what counts where others keep the machine busy`),
        row(
          "first",
          `${(first.wallMs / 1000).toFixed(2)} s, ${((1000 * pictures) / first.wallMs).toFixed(0)} pictures a second, measurements written down`,
        ),
        row("again", `${(second.wallMs / 1000).toFixed(2)} s, ${(second.wallMs / first.wallMs).toFixed(3)} of the first`),
        row(
          "memory",
          `at the most ${formatMegabytes(early)} resident in the first half, ${formatMegabytes(late)} in the second`,
        ),
      ];
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

function describeRatios(ratios: readonly number[]): string {
  return `${median(ratios).toFixed(2)} (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")})`;
}

/** Noise that pictures share: making it takes longer than all the rest. */
const NOISES = 8;

/** Pictures with edges, texture and noise, so that decoding costs what it does for photographs. */
async function writePictures(folder: string, pictures: number): Promise<void> {
  const noise = { type: "gaussian", mean: 128, sigma: 14 } as const;
  const create = { width: widthPx, height: heightPx, channels: 3, background: "#888", noise } as const;
  const raw = { width: widthPx, height: heightPx, channels: 3 } as const;
  const grounds = await Promise.all(Array.from({ length: NOISES }, () => sharp({ create }).raw().toBuffer()));
  const left = Array.from({ length: pictures }, (_, i) => i).values();
  const work = async (): Promise<void> => {
    for (const i of left) {
      const pixels = drawCircles(i, grounds[i % NOISES] ?? Buffer.alloc(0));
      await writeFile(join(folder, `${i}.jpg`), await sharp(pixels, { raw }).jpeg({ quality: 90 }).toBuffer());
    }
  };
  await Promise.all([work(), work(), work()]);
}

const CIRCLES = 40;

/** A picture's own circles, from a small generator of random numbers, so that pictures are no copies of each other. */
function drawCircles(i: number, ground: Uint8Array): Uint8Array {
  let state = (i + 1) * 2654435761;
  const upTo = (limit: number): number => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 374761393) >>> 0;
    return state % limit;
  };
  /** Of each pixel the circle on top, from 1; 0 for the ground. */
  const tops = new Uint8Array(widthPx * heightPx);
  const colours = new Uint8Array(3 * (CIRCLES + 1));
  for (let circle = 1; circle <= CIRCLES; circle++) {
    const [x, y, radius] = [upTo(widthPx), upTo(heightPx), 20 + upTo(140)];
    for (let channel = 0; channel < 3; channel++) colours[3 * circle + channel] = 30 + upTo(170);
    for (let row = Math.max(0, y - radius); row < Math.min(heightPx, y + radius); row++) {
      const half = Math.sqrt(radius ** 2 - (row - y) ** 2);
      tops.fill(
        circle,
        row * widthPx + Math.max(0, Math.round(x - half)),
        row * widthPx + Math.min(widthPx, Math.round(x + half)),
      );
    }
  }
  const out = new Uint8Array(ground.length);
  for (let at = 0, from = 0; at < tops.length; at++) {
    const circle = 3 * (tops[at] ?? 0);
    for (let channel = 0; channel < 3; channel++, from++) {
      const noise = ground[from] ?? 0;
      out[from] = circle === 0 ? noise : 0.8 * (colours[circle + channel] ?? 0) + 0.2 * noise;
    }
  }
  return out;
}

/** The least that any inspection must do: read each file and decode it, as many at once as Node has threads for. */
async function decodeAll(folder: string, threadsEach: number): Promise<void> {
  const before = sharp.concurrency();
  sharp.concurrency(threadsEach);
  const queue = (await readdir(folder)).filter((file) => file.endsWith(".jpg")).values();
  const work = async (): Promise<void> => {
    for (const file of queue) {
      await sharp(await readFile(join(folder, file)))
        .raw()
        .toBuffer();
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  sharp.concurrency(before);
}

async function inspect(folder: string, cacheFolder: string | undefined): Promise<void> {
  for await (const event of inspectDataset(folder, { target, cacheFolder })) {
    if (event.type === "stopped") throw new Error("inspect: stopped");
  }
}

/** Highest resident memory, ten times a second; `stop` gives that of the first half of the time and of the second. */
function watchMemory(): { stop(): readonly [early: number, late: number] } {
  const seen: number[] = [];
  const timer = setInterval(() => seen.push(process.memoryUsage.rss()), 100);
  return {
    stop() {
      clearInterval(timer);
      seen.push(process.memoryUsage.rss());
      const middle = Math.ceil(seen.length / 2);
      return [Math.max(...seen.slice(0, middle)), Math.max(...seen.slice(middle - 1))];
    },
  };
}

async function clock(work: () => Promise<void>): Promise<{ wallMs: number; cpuMs: number }> {
  const [startMs, start] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(start);
  return { wallMs: performance.now() - startMs, cpuMs: (user + system) / 1000 };
}
