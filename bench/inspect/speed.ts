/** What an inspection costs over decoding its pictures once, and how much of it a second one repeats: `npm run bench -- inspect`. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { inspectDataset } from "../../src/dataset/inspect.ts";
import { type Claim, formatMegabytes, median, row } from "../claim.ts";

const pictures = 300;
const widthPx = 1152;
const heightPx = 896;

export const inspectSpeed: Claim = {
  name: "inspect",
  about: `gesso inspect over ${pictures} JPEG pictures of one megapixel, against the codec's bare decoding of them`,
  async run({ machine, rounds }) {
    const folder = await mkdtemp(join(tmpdir(), "gesso-inspect-"));
    try {
      await writePictures(folder);
      const ratios: number[] = [];
      const cpu: number[] = [];
      let highest = 0;
      await inspect(folder, undefined);
      for (let round = 0; round < rounds; round++) {
        const bare = await clock(() => decodeAll(folder));
        const full = await clock(() => inspect(folder, undefined));
        ratios.push(full.wallMs / bare.wallMs);
        cpu.push(full.cpuMs / bare.cpuMs);
        highest = Math.max(highest, process.memoryUsage().rss);
      }
      const cache = join(folder, "cache");
      const first = await clock(() => inspect(folder, cache));
      const second = await clock(() => inspect(folder, cache));
      return [
        `gesso inspect, ${pictures} JPEG pictures of ${widthPx} x ${heightPx} px, quality 90`,
        ...machine,
        row(
          "wall",
          `${median(ratios).toFixed(2)} times the bare decoding, the median of ${rounds} (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")}); promised: at most 1.5`,
        ),
        row(
          "processor",
          `${median(cpu).toFixed(2)} times (${cpu.map((ratio) => ratio.toFixed(2)).join(", ")}): what counts where others keep the machine busy`,
        ),
        row("again", `${(second.wallMs / first.wallMs).toFixed(3)} of the first run's time with everything remembered`),
        row("memory", `${formatMegabytes(highest)} resident at the most`),
      ];
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

/** Pictures with edges, texture and noise, so that decoding costs what it does for photographs. */
async function writePictures(folder: string): Promise<void> {
  for (let i = 0; i < pictures; i++) {
    const noise = await sharp({
      create: {
        width: widthPx,
        height: heightPx,
        channels: 3,
        background: "#888",
        noise: { type: "gaussian", mean: 128, sigma: 14 },
      },
    })
      .png({ compressionLevel: 0 })
      .toBuffer();
    const shapes = Array.from({ length: 40 }, (_, k) => {
      const [x, y, r] = [(i * 97 + k * 211) % widthPx, (i * 53 + k * 137) % heightPx, 20 + ((i + k * 31) % 120)];
      return `<circle cx="${x}" cy="${y}" r="${r}" fill="hsl(${(i * 13 + k * 47) % 360} 60% ${30 + ((k * 7) % 50)}%)" opacity="0.8"/>`;
    });
    const svg = `<svg width="${widthPx}" height="${heightPx}">${shapes.join("")}</svg>`;
    await writeFile(
      join(folder, `${i}.jpg`),
      await sharp(noise)
        .composite([{ input: Buffer.from(svg) }])
        .jpeg({ quality: 90 })
        .toBuffer(),
    );
  }
}

/** The least that any inspection must do: read each file and decode it, as many at once as ours. */
async function decodeAll(folder: string): Promise<void> {
  const queue = (await readdir(folder)).filter((file) => file.endsWith(".jpg")).values();
  const work = async (): Promise<void> => {
    for (const file of queue)
      await sharp(await readFile(join(folder, file)))
        .raw()
        .toBuffer();
  };
  await Promise.all([work(), work(), work()]);
}

async function inspect(folder: string, cacheFolder: string | undefined): Promise<void> {
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
  for await (const event of inspectDataset(folder, { target, cacheFolder, parallel: 3 })) {
    if (event.type === "done" && event.report.pictures.length !== pictures)
      throw new Error(`inspect: ${event.report.pictures.length} pictures`);
  }
}

async function clock(work: () => Promise<void>): Promise<{ wallMs: number; cpuMs: number }> {
  const [startMs, start] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(start);
  return { wallMs: performance.now() - startMs, cpuMs: (user + system) / 1000 };
}
