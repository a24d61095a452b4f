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
import { outlineOf } from "./outline.ts";

const help = `Measures the bundled model mini.

Usage: npm run mini:measure -- [options]
  --base DIR      the model (default: mini itself)
  --data DIR      the pictures of npm run mini:data (default .cache/mini-data)
  --prompts N     prompts of the training sets to draw (default 100)
  --steps N       sampling steps (default 20)
  --cfg X         guidance (default 5)
  --sheet FILE    also write a sheet of the first pictures
  --help          show this

It draws N (subject, style) prompts of the training pictures with seed 1 and looks for each drawing's nearest neighbours among all training
pictures: a drawing counts when its subject is among the first five. Near is meant in two ways: by the autoencoder's latents, and by outlines
(histograms of oriented gradients). How far each can be trusted is measured first, on real pictures whose subject and style are trained and
whose combination is not. Then the pictures of the sets that mini never saw are encoded and decoded, for the mean PSNR.`;

interface Row {
  readonly file_name: string;
  readonly text: string;
  readonly subject: string;
  readonly split: string;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      base: { type: "string", default: "mini" },
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
  const base = await openBase(values.base, { hashCacheFile: undefined });
  const engine = await createOrtEngine();
  const weights = createWeightStore(engine, base);
  const side = resolutionPx / base.pixelsPerLatent;
  const encode = await weights.compile(buildVaeEncoding(base, 1, resolutionPx, resolutionPx), "encode");
  const decode = await weights.compile(buildVaeDecoding(base, 1, side, side), "decode");

  const trained = rows.filter(({ split }) => split === "train");
  const known = await embedRows(values.data, trained, encode);
  const real = await embedRows(
    values.data,
    rows.filter(({ split }) => split === "heldout-pair"),
    encode,
  );
  const order = permutation({ seed: 1, purpose: "order" }, trained.length);
  const painter = createPainter({ base, weights });
  const drawn: (Embedded & { picture: Pixels })[] = [];
  for (const index of order.subarray(0, Number(values.prompts))) {
    const row = trained[index];
    if (!row) continue;
    const picture = await draw(painter, row.text, Number(values.steps), Number(values.cfg));
    drawn.push({ picture, ...(await embed(row, toPlanes(picture.data, picture.channels), encode)) });
  }
  for (const by of ["latents", "outline"] as const) {
    const count = (list: readonly Embedded[]): string =>
      `${list.filter((entry) => isFound(entry, known, by)).length} of ${list.length}`;
    console.log(`right subject among the five nearest training pictures, by ${by}: ${count(drawn)} drawings`);
    console.log(`  of real pictures of held-out pairs it finds ${count(real)}`);
  }

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

/** A picture, and what it is compared by. */
interface Embedded {
  readonly row: Row;
  readonly latents: Float32Array;
  /** Of length 1: the nearest by distance is the nearest by angle. */
  readonly outline: Float32Array;
}

async function embed(row: Row, pixels: Float32Array, encode: Executable): Promise<Embedded> {
  return { row, latents: await encodePicture(encode, pixels), outline: outlineOf(pixels, resolutionPx) };
}

async function embedRows(folder: string, rows: readonly Row[], encode: Executable): Promise<readonly Embedded[]> {
  const embedded: Embedded[] = [];
  for (const row of rows) embedded.push(await embed(row, await readPixels(folder, row), encode));
  return embedded;
}

/** Whether the subject is among the five nearest. */
function isFound(entry: Embedded, known: readonly Embedded[], by: "latents" | "outline"): boolean {
  const distances = known.map((other) => ({ row: other.row, distance: squaredDistance(entry[by], other[by]) }));
  const nearest = distances.sort((a, b) => a.distance - b.distance).slice(0, 5);
  return nearest.some(({ row }) => row.subject === entry.row.subject);
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

async function writeSheet(file: string, drawn: readonly { picture: Pixels }[]): Promise<void> {
  const columns = 10;
  const rowCount = Math.ceil(drawn.length / columns);
  const tiles = Array.from({ length: rowCount }, (_, y) =>
    Array.from({ length: columns }, (_, x) => drawn[y * columns + x]?.picture),
  );
  await writePng(file, await renderSheet({ columns: tiles[0]?.map(() => "") ?? [], rows: tiles.map(() => ""), tiles }));
}

await main();
