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
      for (const share of [0.06, 0.08, 0.12, 0.2, 0.35]) {
        const shrunk = await shrinkAll(finder, pictures, share, folder);
        lines.push(row(`at ${Math.round(100 * share)} %`, describe(await judge(finder, shrunk))));
      }
      lines.push(row("no faces", describe(await judge(finder, withoutFaces()))));
      lines.push(row("cost", await measureCost(finder, pictures)));
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

/** Each picture of one face on a grey square of 1024 px, so small that its face has this share of the height. */
async function shrinkAll(
  finder: FaceFinder,
  pictures: readonly Labelled[],
  share: number,
  folder: string,
): Promise<readonly Labelled[]> {
  const shrunk: Labelled[] = [];
  for (const [i, { path, faces }] of pictures.entries()) {
    const [face] = faces === 1 ? await finder.find(path) : [];
    const { width, height } = await sharp(path).metadata();
    if (!face) continue;
    const scale = (1024 * share) / (face.height * height);
    const [wide, tall] = [Math.round(width * scale), Math.round(height * scale)];
    if (wide > 1024 || tall > 1024) continue;
    const inset = await sharp(path).resize(wide, tall).png().toBuffer();
    const ground = sharp({ create: { width: 1024, height: 1024, channels: 3, background: "#7a8288" } });
    const file = join(folder, `${share}-${i}.jpg`);
    const place = { left: Math.floor((1024 - wide) * ((i % 5) / 4)), top: Math.floor((1024 - tall) * ((i % 3) / 2)) };
    await ground
      .composite([{ input: inset, ...place }])
      .jpeg({ quality: 92 })
      .toFile(file);
    shrunk.push({ path: file, faces: 1 });
  }
  return shrunk;
}

/** Photographs of the proof; the album that shows people is left out. */
function withoutFaces(): readonly Labelled[] {
  const sources = findSources().filter(({ kind, path }) => kind === "photograph" && !path.includes("kphotoalbum"));
  return sources.map(({ path }) => ({ path, faces: 0 }));
}

async function measureCost(finder: FaceFinder, pictures: readonly Labelled[]): Promise<string> {
  const files = pictures.slice(0, 24).map(({ path }) => path);
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
