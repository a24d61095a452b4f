/** What an inspection costs over decoding its pictures once, and how much of it a second one repeats: `npm run bench -- inspect`. */
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import type * as Inspect from "../../src/dataset/inspect.ts";
import { UserError } from "../../src/errors.ts";
import { importBuilt } from "../built.ts";
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
  async run({ machine, rounds, pictures, out }) {
    const root = await mkdtemp(join(tmpdir(), "gesso-inspect-"));
    const [folder, cache] = [out ?? join(root, "pictures"), join(root, "cache")];
    try {
      await writePictures(folder, pictures);
      // Once before the clock, over a few: the engine compiles what it runs often.
      await writePictures(join(root, "few"), Math.min(100, pictures));
      await inspect(join(root, "few"), undefined);
      const turns: Turn[] = [];
      for (let round = 0; round < rounds; round++) turns.push(await measureTurn(folder));
      const memory = watchMemory();
      const first = await inspect(folder, cache);
      const [early, late] = memory.stop();
      const again = await inspect(folder, cache);
      return [
        `gesso inspect, ${pictures} JPEG pictures of ${widthPx} x ${heightPx} px, quality 90`,
        ...machine,
        row("wall", `${describeRatios(turns.map(({ wall }) => wall))} times the bare decoding; aim: at most 1.5`),
        row("measuring", `${describeRatios(turns.map(({ measuring }) => measuring))} times, before pictures are compared`),
        row(
          "processor",
          `${describeRatios(turns.map(({ cpu }) => cpu))} times: what counts where others keep the machine busy`,
        ),
        row("bare", `${(median(turns.map(({ bareMs }) => bareMs)) / pictures).toFixed(2)} ms a picture`),
        row("first", `${describeRun(first, pictures)}, measurements written down`),
        row("again", `${describeRun(again, pictures)}; ${(again.wallMs / first.wallMs).toFixed(3)} of the first`),
        row(
          "memory",
          `at the most ${formatMegabytes(early)} resident in the first half of the first, ${formatMegabytes(late)} in the second`,
        ),
        row(
          "cache",
          `${formatMegabytes(await sizeOf(cache))}, ${((await sizeOf(cache)) / pictures / 1000).toFixed(1)} kB a picture`,
        ),
      ];
    } finally {
      await rm(root, { recursive: true });
    }
  },
};

/** One round: ratios to the bare decoding. */
interface Turn {
  readonly wall: number;
  readonly measuring: number;
  readonly cpu: number;
  readonly bareMs: number;
}

async function measureTurn(folder: string): Promise<Turn> {
  // The codec may give each picture one thread or several; the quicker way counts.
  const ways = [await clock(() => decodeAll(folder, 1)), await clock(() => decodeAll(folder, availableParallelism()))];
  const bareMs = Math.min(...ways.map((way) => way.wallMs));
  const full = await inspect(folder, undefined);
  return {
    wall: full.wallMs / bareMs,
    measuring: (full.wallMs - full.comparingMs) / bareMs,
    cpu: full.cpuMs / Math.min(...ways.map((way) => way.cpuMs)),
    bareMs,
  };
}

function describeRun({ wallMs, comparingMs }: Inspected, pictures: number): string {
  const rate = ((1000 * pictures) / wallMs).toFixed(0);
  return `${(wallMs / 1000).toFixed(2)} s, of which ${(comparingMs / 1000).toFixed(2)} s comparing; ${rate} pictures a second`;
}

async function sizeOf(folder: string): Promise<number> {
  const sizes = (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

function describeRatios(ratios: readonly number[]): string {
  return `${median(ratios).toFixed(2)} (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")})`;
}

/** Noise that pictures share: making it takes longer than all the rest. */
const NOISES = 8;

/** Pictures with edges, texture and noise, so that decoding costs what it does for photographs. */
async function writePictures(folder: string, pictures: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const before = await readdir(folder);
  // Of --out, from an earlier time.
  if (before.length === pictures) return;
  if (before.length > 0) throw new UserError(`${folder} holds ${before.length} files.`, { fix: "Give --out an empty folder." });
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

interface Inspected extends Clocked {
  /** From the last picture's measuring to the report. */
  readonly comparingMs: number;
}

async function inspect(folder: string, cacheFolder: string | undefined): Promise<Inspected> {
  const { inspectDataset } = await importBuilt<typeof Inspect>("dataset/inspect.js");
  let comparedFromMs = 0;
  const clocked = await clock(async () => {
    for await (const event of inspectDataset(folder, { target, cacheFolder })) {
      if (event.type === "progress" && event.phase === "compare") comparedFromMs = performance.now();
      if (event.type === "stopped") throw new Error("inspect: stopped");
    }
  });
  return { ...clocked, comparingMs: clocked.endMs - comparedFromMs };
}

/** Highest resident memory with that of child processes, ten times a second; `stop` gives the first half's and the second's. */
function watchMemory(): { stop(): readonly [early: number, late: number] } {
  const seen: number[] = [];
  const look = (): void => void seen.push(process.memoryUsage.rss() + childrenBytes());
  const timer = setInterval(look, 100);
  return {
    stop() {
      clearInterval(timer);
      look();
      const middle = Math.ceil(seen.length / 2);
      return [Math.max(...seen.slice(0, middle)), Math.max(...seen.slice(middle - 1))];
    },
  };
}

interface Clocked {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly endMs: number;
}

async function clock(work: () => Promise<void>): Promise<Clocked> {
  const [startMs, start, childrenStartMs] = [performance.now(), process.cpuUsage(), endedChildrenMs()];
  await work();
  const { user, system } = process.cpuUsage(start);
  const endMs = performance.now();
  return { wallMs: endMs - startMs, cpuMs: (user + system) / 1000 + endedChildrenMs() - childrenStartMs, endMs };
}

/** What Linux tells of this process; elsewhere nothing is told of children. */
function readOwn(file: string): string {
  try {
    return readFileSync(`/proc/self/${file}`, "utf8");
  } catch {
    return "";
  }
}

/** Resident memory of the processes that this one started, in bytes. */
function childrenBytes(): number {
  const pids = readOwn(`task/${process.pid}/children`).split(" ");
  return pids.reduce((sum, pid) => {
    const [, kilobytes = "0"] = /^VmRSS:\s*(\d+) kB$/m.exec(pid === "" ? "" : readOwn(`../${pid}/status`)) ?? [];
    return sum + 1024 * Number(kilobytes);
  }, 0);
}

/** Linux counts processor time in hundredths of a second. */
const MS_PER_TICK = 10;

/** Processor time of the child processes that have ended. */
function endedChildrenMs(): number {
  const fields = readOwn("stat")
    .replace(/^.*\) /, "")
    .split(" ");
  // The 16th and 17th of all; the first two are cut off.
  return MS_PER_TICK * (Number(fields[13] ?? 0) + Number(fields[14] ?? 0));
}
