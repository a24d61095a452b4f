/** Finds faces in pictures with the network of the npm package @mediapipe/face_detection, on one of our engines. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Engine } from "../engines/engine.ts";
import type { Pixels } from "../formats/images.ts";
import { decodeThumbnail } from "../formats/thumbnails.ts";
import { readTflite } from "../formats/tflite.ts";
import { optimise } from "../graph/passes.ts";
import { type Face, findBoxes, type Inset, keepSurest } from "../models/faces/boxes.ts";
import { buildFaceNetwork, type FaceNetwork } from "../models/faces/model.ts";

export interface FaceFinder {
  /** Faces of a picture file, surest first; none where it cannot be read. */
  readonly find: (path: string) => Promise<readonly Face[]>;
  dispose(): Promise<void>;
}

/** The sparser of the package's two networks looks two metres far; this one five. */
const MODEL = "@mediapipe/face_detection/face_detection_full_range.tflite";
/** MediaPipe's default. */
const SUREST = 0.5;
/** Faces that fill the picture, and those that are small in it, are not of the sizes that the network was trained on: unless it is this sure, */
const CLEAR = 0.6;
/** it looks again from afar, for faces of at least this share of the picture's height, */
const LARGE = 0.4;
/** and twice as near, for smaller ones, */
const NEARER = 2;
/** of which it has to be surer: there are more places where something small looks like a face. */
const SUREST_NEARER = 0.65;

/** The network's file, or undefined where the optional package is not installed. */
export function findFaceModel(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(MODEL);
  } catch {
    return undefined;
  }
}

/**
 * Reads the network and compiles it for both sizes: less than half a second, once.
 *
 * @param path of the network, from `findFaceModel`
 * @example const finder = await createFaceFinder(path, createOrtEngine); console.log(await finder.find("a.jpg"));
 */
export async function createFaceFinder(path: string, createEngine: () => Promise<Engine>): Promise<FaceFinder> {
  const network = readTflite(await readFile(path));
  const engine = await createEngine();
  const first = buildFaceNetwork(network);
  for (const [name, { shape, data }] of first.weights) {
    await engine.allocate({ name, shape, dtype: "float32" }, { kind: "data", data });
  }
  const look = await compileLook(engine, first, SUREST);
  const nearer = buildFaceNetwork(network, NEARER);
  const lookNearer = await compileLook(engine, nearer, SUREST_NEARER);
  return {
    async find(path) {
      const pixels = await decodeThumbnail(path, nearer.sidePx);
      if (!pixels) return [];
      const halved = halve(pixels);
      const found = await look(halved);
      if ((found[0]?.score ?? 0) >= CLEAR) return found;
      const large = await look(halve(halved));
      const small = await lookNearer(pixels);
      return keepSurest([
        ...found,
        ...large.filter(({ height }) => height >= LARGE),
        ...small.filter(({ height }) => height < LARGE),
      ]);
    },
    dispose: () => engine.dispose(),
  };
}

/** @param surest faces that it is less sure of are none */
async function compileLook(
  engine: Engine,
  { graph, sidePx }: FaceNetwork,
  surest: number,
): Promise<(pixels: Pixels) => Promise<readonly Face[]>> {
  const name = `faces ${sidePx}`;
  const network = await engine.compile(optimise(graph, { keep: engine.composites }), { name, keepsMemory: true });
  return async (pixels) => {
    const inset = centre(pixels, sidePx);
    const { boxes, scores } = await network.run({ picture: toSquare(pixels, inset, sidePx) });
    if (!(boxes instanceof Float32Array) || !(scores instanceof Float32Array)) throw new Error("faces: float32 expected");
    return findBoxes({ boxes, scores }, { inset, sidePx, surest });
  };
}

function centre({ widthPx, heightPx }: Pixels, sidePx: number): Inset {
  return { left: (sidePx - widthPx) >> 1, top: (sidePx - heightPx) >> 1, width: widthPx, height: heightPx };
}

/** [1, 3, side, side] in -1..1, black around the picture. */
function toSquare({ data }: Pixels, { left, top, width, height }: Inset, sidePx: number): Float32Array {
  const square = new Float32Array(3 * sidePx * sidePx).fill(-1);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      const row = (c * sidePx + y + top) * sidePx + left;
      for (let x = 0; x < width; x++) square[row + x] = (data[3 * (y * width + x) + c] ?? 0) / 127.5 - 1;
    }
  }
  return square;
}

/** Half the size, each pixel the mean of four. */
function halve({ widthPx, heightPx, data }: Pixels): Pixels {
  const [wide, tall] = [Math.max(1, widthPx >> 1), Math.max(1, heightPx >> 1)];
  const out = new Uint8Array(3 * wide * tall);
  const at = (x: number, y: number, c: number): number =>
    data[3 * (Math.min(heightPx - 1, y) * widthPx + Math.min(widthPx - 1, x)) + c] ?? 0;
  for (let y = 0; y < tall; y++)
    for (let x = 0; x < wide; x++)
      for (let c = 0; c < 3; c++)
        out[3 * (y * wide + x) + c] =
          (at(2 * x, 2 * y, c) + at(2 * x + 1, 2 * y, c) + at(2 * x, 2 * y + 1, c) + at(2 * x + 1, 2 * y + 1, c) + 2) >> 2;
  return { widthPx: wide, heightPx: tall, channels: 3, data: out };
}
