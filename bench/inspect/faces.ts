/** How well faces are found, and what looking for them costs: `npm run bench -- inspect-faces`. */
import { mkdtemp, rm } from "node:fs/promises";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { UserError } from "../../src/errors.ts";
import { createFaceFinder, type FaceFinder, findFaceModel } from "../../src/trainer/find-faces.ts";
import { type Claim, row } from "../claim.ts";
import { counted, faceFolder } from "./face-pictures.ts";
import { findSources } from "./sources.ts";

interface Labelled {
  readonly path: string;
  readonly faces: number;
}

/** A picture and the height of the only face on it, in pixels. */
interface FaceCut {
  readonly path: string;
  readonly facePx: number;
}

/** Side of the pictures that faces are put on. */
const SIDE = 1024;
const greyGround = { width: SIDE, height: SIDE, channels: 3, background: "#7a8288" } as const;
/** Pictures that time is measured on. */
const FOR_COST = 24;

/** Counts over many pictures. */
interface Tally {
  right: number;
  missed: number;
  wrong: number;
  exact: number;
  pictures: number;
}

export const inspectFaces: Claim = {
  onlyWhenNamed: true,
  name: "inspect-faces",
  about:
    "precision and recall of faces, by their size, and the cost; needs bench/inspect/face-pictures.ts and bench/inspect/pictures.ts",
  async run({ machine }) {
    const model = findFaceModel();
    if (model === undefined) throw new UserError("@mediapipe/face_detection is not installed.", { fix: "npm install" });
    const finder = await createFaceFinder(model, createOrtEngine);
    const folder = await mkdtemp(join(tmpdir(), "gesso-bench-faces-"));
    try {
      const pictures = listLabelled();
      const people = await judge(finder, pictures);
      const lines = ["faces found by gesso inspect", ...machine, row("people", describe(people))];
      const faceless = withoutFaces();
      const faces = await cutFaces(finder, pictures);
      // The sureness of small faces was chosen on the grey ground and on the photographs without faces, not on faces among what those show.
      for (const [ground, grounds] of [
        ["grey", undefined],
        ["photo", faceless],
      ] as const) {
        for (const share of [0.04, 0.06, 0.08, 0.12, 0.2, 0.35]) {
          const shrunk = await shrinkAll(faces, { share, grounds, folder });
          lines.push(row(`${ground} ${Math.round(100 * share)} %`, describe(await judge(finder, shrunk))));
        }
      }
      lines.push(row("no faces", describe(await judge(finder, faceless))));
      lines.push(row("cost", `people: ${await measureCost(finder, pictures)}`));
      lines.push(row("cost", `no faces: ${await measureCost(finder, faceless)}`));
      return lines;
    } finally {
      await finder.dispose();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** @throws UserError when the pictures were not fetched */
function listLabelled(): readonly Labelled[] {
  const list = (): readonly string[] => {
    try {
      return readdirSync(faceFolder, { recursive: true, encoding: "utf8" }).sort();
    } catch {
      return [];
    }
  };
  const found = list().flatMap((file) => {
    const label = counted.find(([pattern]) => pattern.test(`/${file}`));
    return label ? [{ path: join(faceFolder, file), faces: label[1] }] : [];
  });
  if (found.length === 0)
    throw new UserError(`${faceFolder} holds no pictures.`, { fix: "npx tsx bench/inspect/face-pictures.ts fetches them." });
  return found;
}

async function judge(finder: FaceFinder, pictures: readonly Labelled[]): Promise<Tally> {
  const tally: Tally = { right: 0, missed: 0, wrong: 0, exact: 0, pictures: pictures.length };
  for (const { path, faces } of pictures) {
    const found = (await finder.find(path)).length;
    tally.right += Math.min(found, faces);
    tally.missed += Math.max(0, faces - found);
    tally.wrong += Math.max(0, found - faces);
    if (found === faces) tally.exact++;
  }
  return tally;
}

function describe({ right, missed, wrong, exact, pictures }: Tally): string {
  const share = (of: number, all: number): string => (all === 0 ? "-" : (of / all).toFixed(3));
  return `${pictures} pictures, ${right + missed} faces: precision ${share(right, right + wrong)}, recall ${share(right, right + missed)}, ${wrong} wrong; right number on ${exact} pictures`;
}

async function cutFaces(finder: FaceFinder, pictures: readonly Labelled[]): Promise<readonly FaceCut[]> {
  const cuts: FaceCut[] = [];
  for (const { path, faces } of pictures) {
    const [face] = faces === 1 ? await finder.find(path) : [];
    const { height } = await sharp(path).metadata();
    if (face) cuts.push({ path, facePx: face.height * height });
  }
  return cuts;
}

/** Each picture of one face on a grey square or a photograph of none, so small that its face has this share of the height. */
async function shrinkAll(
  cuts: readonly FaceCut[],
  {
    share,
    grounds,
    folder,
  }: { readonly share: number; readonly grounds: readonly Labelled[] | undefined; readonly folder: string },
): Promise<readonly Labelled[]> {
  const shrunk: Labelled[] = [];
  for (const [i, { path, facePx }] of cuts.entries()) {
    const { width, height } = await sharp(path).metadata();
    const scale = (SIDE * share) / facePx;
    const [wide, tall] = [Math.round(width * scale), Math.round(height * scale)];
    if (wide > SIDE || tall > SIDE) continue;
    const inset = await sharp(path).resize(wide, tall).png().toBuffer();
    // Every seventh photograph, for neighbours in the list are alike.
    const photo = grounds?.[(7 * i) % grounds.length]?.path;
    const ground = photo ? sharp(photo).resize(SIDE, SIDE).flatten() : sharp({ create: greyGround });
    const file = join(folder, `${grounds ? "photo" : "grey"}-${share}-${i}.jpg`);
    const place = { left: Math.floor((SIDE - wide) * ((i % 5) / 4)), top: Math.floor((SIDE - tall) * ((i % 3) / 2)) };
    await ground
      .composite([{ input: inset, ...place }])
      .jpeg({ quality: 92 })
      .toFile(file);
    shrunk.push({ path: file, faces: 1 });
  }
  return shrunk;
}

/** Photographs of the proof; the album that shows people is left out, and so is a portrait. */
function withoutFaces(): readonly Labelled[] {
  const sources = findSources().filter(({ kind, path }) => kind === "photograph" && !/kphotoalbum|astronaut/.test(path));
  return sources.map(({ path }) => ({ path, faces: 0 }));
}

async function measureCost(finder: FaceFinder, pictures: readonly Labelled[]): Promise<string> {
  const files = pictures.slice(0, FOR_COST).map(({ path }) => path);
  const time = async (work: (path: string) => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    for (const path of files) await work(path);
    return (performance.now() - start) / files.length;
  };
  const decode = await time((path) => sharp(path).raw().toBuffer());
  const find = await time((path) => finder.find(path));
  const pixels = await Promise.all(files.map(async (path) => sharp(path).metadata()));
  const megapixels = pixels.reduce((sum, { width, height }) => sum + (width * height) / 1e6, 0) / files.length;
  return `${find.toFixed(1)} ms for a picture of ${megapixels.toFixed(1)} megapixels, of which sharp's bare decode takes ${decode.toFixed(1)} ms`;
}
