/** Measures mini: does it draw the subject it was asked for, and how well does its autoencoder keep pictures it never saw. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { buildVaeDecoding, buildVaeEncoding } from "../../src/checkpoints/conditioning.ts";
import { openBase } from "../../src/checkpoints/open-base.ts";
import { permutation } from "../../src/diffusion/philox.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import type { Executable } from "../../src/engines/engine.ts";
import { decodePicture, type Pixels, writePng } from "../../src/formats/images.ts";
import { renderSheet } from "../../src/formats/sheet.ts";
import { createPainter, type Painter } from "../../src/trainer/sample.ts";
import { createWeightStore } from "../../src/trainer/weights.ts";
import { resolutionPx } from "./configs.ts";

const help = `Measures the bundled model mini.

Usage: npm run mini:measure -- [options]
  --data DIR      the pictures of npm run mini:data (default .cache/mini-data)
  --prompts N     prompts of the training sets to draw (default 100)
  --steps N       sampling steps (default 20)
  --cfg X         guidance (default 5)
  --sheet FILE    also write a sheet of the first pictures
  --help          show this

It draws N (subject, style) prompts of the training pictures with seed 1, encodes each drawing, and looks for its nearest neighbours among
the latents of all training pictures: a drawing counts when its subject is among the first five. Then it encodes and decodes the pictures of the sets
that mini never saw and prints the mean PSNR.`;

interface Row {
  readonly file_name: string;
  readonly text: string;
  readonly subject: string;
  readonly split: string;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      data: { type: "string", default: ".cache/mini-data" },
      prompts: { type: "string", default: "100" },
      steps: { type: "string", default: "20" },
      cfg: { type: "string", default: "5" },
      sheet: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(help);
    return;
  }
  const rows = readFileSync(path.join(values.data, "metadata.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);
  const base = await openBase("mini", { hashCacheFile: undefined });
  const engine = await createOrtEngine();
  const weights = createWeightStore(engine, base);
  const side = resolutionPx / base.pixelsPerLatent;
  const encode = await weights.compile(buildVaeEncoding(base, 1, resolutionPx, resolutionPx), "encode");
  const decode = await weights.compile(buildVaeDecoding(base, 1, side, side), "decode");

  const trained = rows.filter(({ split }) => split === "train");
  const known = [];
  for (const row of trained) known.push({ row, latents: await encodePicture(encode, await readPixels(values.data, row)) });

  const order = permutation({ seed: 1, purpose: "order" }, trained.length);
  const painter = createPainter({ base, weights });
  const drawn: { row: Row; picture: Pixels; isFound: boolean }[] = [];
  for (const index of order.subarray(0, Number(values.prompts))) {
    const row = trained[index];
    if (!row) continue;
    const picture = await draw(painter, row.text, Number(values.steps), Number(values.cfg));
    const nearest = findNearestRows(await encodePicture(encode, toPlanes(picture.data, picture.channels)), known, 5);
    drawn.push({ row, picture, isFound: nearest.some(({ subject }) => subject === row.subject) });
  }
  const found = drawn.filter(({ isFound }) => isFound).length;
  console.log(`right subject among the five nearest training pictures: ${found} of ${drawn.length}`);

  const unseen = rows.filter(({ split }) => split === "heldout-style");
  let total = 0;
  for (const row of unseen) total += await reconstructionPsnr(encode, decode, await readPixels(values.data, row));
  console.log(`autoencoder, ${unseen.length} pictures of unseen sets: PSNR ${(total / unseen.length).toFixed(2)} dB`);
  if (values.sheet) await writeSheet(values.sheet, drawn);
  await engine.dispose();
}

function draw(painter: Painter, prompt: string, steps: number, guidance: number): Promise<Pixels> {
  const size = { widthPx: resolutionPx, heightPx: resolutionPx };
  return painter.draw({ prompt, negativePrompt: "", seed: 1, steps, guidance, sampler: "dpmpp_2m", ...size, adapters: [] });
}

/** [3, H, W] in -1..1 */
function toPlanes(data: Uint8Array, channels = 3): Float32Array {
  const count = data.length / channels;
  return Float32Array.from(
    { length: 3 * count },
    (_, i) => (data[(i % count) * channels + Math.floor(i / count)] ?? 0) / 127.5 - 1,
  );
}

async function readPixels(folder: string, { file_name }: Row): Promise<Float32Array> {
  return toPlanes((await decodePicture(path.join(folder, file_name))).rgb);
}

async function encodePicture(encode: Executable, pixels: Float32Array): Promise<Float32Array> {
  const { latents } = await encode.run({ pixels: pixels.slice() });
  if (!(latents instanceof Float32Array)) throw new Error("mini: no latents");
  return latents;
}

/** The rows whose latents are nearest by Euclidean distance. */
function findNearestRows(
  latents: Float32Array,
  known: readonly { row: Row; latents: Float32Array }[],
  count: number,
): readonly Row[] {
  const distances = known.map((entry) => ({ row: entry.row, distance: squaredDistance(latents, entry.latents) }));
  return distances
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ row }) => row);
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + (x - (b[i] ?? 0)) ** 2, 0);
}

/** Peak signal-to-noise ratio in decibels, of values in 0..1. */
async function reconstructionPsnr(encode: Executable, decode: Executable, pixels: Float32Array): Promise<number> {
  const { pixels: back } = await decode.run({ latents: await encodePicture(encode, pixels) });
  if (!(back instanceof Float32Array)) throw new Error("mini: no pixels");
  const clipped = back.map((x) => Math.min(1, Math.max(-1, x)));
  return -10 * Math.log10(squaredDistance(clipped, pixels) / pixels.length / 4);
}

async function writeSheet(file: string, drawn: readonly { row: Row; picture: Pixels; isFound: boolean }[]): Promise<void> {
  const columns = 10;
  const rowCount = Math.ceil(drawn.length / columns);
  const tiles = Array.from({ length: rowCount }, (_, y) =>
    Array.from({ length: columns }, (_, x) => drawn[y * columns + x]?.picture),
  );
  await writePng(file, await renderSheet({ columns: tiles[0]?.map(() => "") ?? [], rows: tiles.map(() => ""), tiles }));
}

await main();
