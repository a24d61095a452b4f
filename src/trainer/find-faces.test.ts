import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Engine } from "../engines/engine.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import { readTflite } from "../formats/tflite.ts";
import { optimise } from "../graph/passes.ts";
import { buildFaceNetwork } from "../models/faces/model.ts";
import { createFaceFinder, type FaceFinder, findFaceModel } from "./find-faces.ts";

const path = findFaceModel() ?? "";
let folder = "";
let finder: FaceFinder;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-faces-"));
  finder = await createFaceFinder(path, createOrtEngine);
});
afterAll(async () => {
  await finder.dispose();
  await rm(folder, { recursive: true });
});

test("the network says what LiteRT says", async () => {
  const { graph, weights, sidePx } = buildFaceNetwork(readTflite(await readFile(path)));
  const engine: Engine = await createOrtEngine();
  for (const [name, { shape, data }] of weights)
    await engine.allocate({ name, shape, dtype: "float32" }, { kind: "data", data });
  const run = await engine.compile(optimise(graph, { keep: engine.composites }), { name: "faces" });
  const picture = Float32Array.from({ length: 3 * sidePx * sidePx }, (_, i) => {
    const [c, y, x] = [Math.floor(i / sidePx ** 2), Math.floor(i / sidePx) % sidePx, i % sidePx];
    return Math.sin(0.05 * x + 0.11 * c) * Math.cos(0.07 * y - 0.2 * c);
  });
  const { boxes, scores } = await run.run({ picture });
  await engine.dispose();
  // ai-edge-litert (PyPI) on the same numbers: place, logit, the box.
  const expected = [
    [0, -8.746827, -3.4978, -2.7929, 20.5507, 20.5598],
    [47, -7.574568, -3.0469, -0.3844, 19.9369, 19.9451],
    [600, -6.156182, -2.6116, -1.272, 87.9834, 87.9796],
    [1175, -6.184352, -3.4163, -0.5744, 67.0736, 67.0703],
    [2303, -10.174791, -3.3553, -0.6404, 56.5264, 56.5335],
  ];
  for (const [place = 0, logit = 0, ...box] of expected) {
    expect(scores?.[place]).toBeCloseTo(logit, 3);
    expect(
      [...(boxes ?? [])].slice(16 * place, 16 * place + 4).every((value, i) => Math.abs(value - (box[i] ?? 0)) < 2e-3),
    ).toBe(true);
  }
});

/** A drawn head; `height` is that from the brow to the chin, about. */
function head(x: number, y: number, height: number): string {
  return `<g transform="translate(${x} ${y}) scale(${height / 85})">
    <ellipse rx="46" ry="62" fill="#4a3020"/><ellipse cy="8" rx="38" ry="50" fill="#e0b090"/>
    <path d="M-28-12Q-17-19-7-12M7-12Q17-19 28-12" stroke="#3a2418" stroke-width="4" fill="none"/>
    <ellipse cx="-17" cy="-2" rx="8" ry="4.5" fill="#fff"/><ellipse cx="17" cy="-2" rx="8" ry="4.5" fill="#fff"/>
    <circle cx="-17" cy="-2" r="4" fill="#302010"/><circle cx="17" cy="-2" r="4" fill="#302010"/>
    <path d="M0 0L-6 20Q0 25 6 20" stroke="#b07a5c" stroke-width="3" fill="none"/>
    <path d="M-16 36Q0 30 16 36Q0 46-16 36" fill="#b04a4a"/></g>`;
}

async function find(widthPx: number, heightPx: number, drawing: string) {
  const file = join(folder, "picture.png");
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${widthPx}" height="${heightPx}"><rect width="100%" height="100%" fill="#8aa0b0"/>${drawing}</svg>`;
  await sharp(Buffer.from(svg)).png().toFile(file);
  return finder.find(file);
}

test.each([
  ["near, cut by the edges", 1.1],
  ["half the height", 0.5],
  ["a tenth of the height", 0.1],
  ["a thirtieth of the height", 0.033],
])("a face is found with its height: %s", async (_, share) => {
  const faces = await find(400, 600, head(200, 300, 600 * share));
  expect(faces.length).toBe(1);
  expect(Math.abs((faces[0]?.height ?? 0) / share - 1)).toBeLessThan(0.25);
});

test("two faces are two, and none is none", async () => {
  const two = await find(640, 480, head(180, 200, 120) + head(460, 220, 120));
  const middles = two.map(({ left, width }) => 640 * (left + width / 2)).sort((a, b) => a - b);
  expect(middles.length).toBe(2);
  expect(Math.abs((middles[0] ?? 0) - 180)).toBeLessThan(8);
  expect(Math.abs((middles[1] ?? 0) - 460)).toBeLessThan(8);
  expect(await find(640, 480, `<rect x="200" y="100" width="200" height="300" fill="#a33"/>`)).toEqual([]);
});
