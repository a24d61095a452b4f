/** Folders with planted faults, and what is to be found in them. */
import { createHash } from "node:crypto";
import sharp from "sharp";
import { copyFaults, type Fault, faults, markSvg } from "./faults.ts";
import type { View } from "./views.ts";

export type Write = (name: string, bytes: Buffer, extension: string) => Promise<void>;

/** A file's view, and the fault in it. */
export interface Planted {
  readonly view: View;
  readonly fault: Fault | undefined;
  /** Whether the view is known to be as sharp as its pixels allow. */
  readonly isSharp: boolean;
}

/** Sharp are views made at least 1.9 times smaller that lost so many grey levels by it; of the others nothing is claimed. */
const LOST = 8;

async function isSharp(view: View): Promise<boolean> {
  return view.shrunk >= 1.9 && (await view.lostDetail()) >= LOST;
}

/** 0..1, the same for the same words. */
export function chance(...words: readonly string[]): number {
  return createHash("sha256").update(words.join("/")).digest().readUInt32BE(0) / 2 ** 32;
}

/** Each view clean, and with every third fault, of those that need sharp views two of three. By file name. */
export async function plantPictures(views: readonly View[], write: Write): Promise<ReadonlyMap<string, Planted>> {
  const planted = new Map<string, Planted>();
  for (const [i, view] of views.entries()) {
    const clean = await view.png();
    const sharpness = await isSharp(view);
    await write(view.name, await sharp(clean).jpeg({ quality: 93 }).toBuffer(), "jpg");
    planted.set(view.name, { view, fault: undefined, isSharp: sharpness });
    for (const [k, fault] of faults.entries()) {
      if (fault.needsSharp ? !sharpness || (i + k) % 3 === 1 : (i + k) % 3 !== 0) continue;
      const { bytes, extension } = await fault.plant(clean, view, chance(view.name, fault.name));
      await write(`${view.name}.${k}`, bytes, extension);
      planted.set(`${view.name}.${k}`, { view, fault, isSharp: sharpness });
    }
  }
  return planted;
}

/** A copy, by file name: the view that it is a copy of, and the check that must say so. */
export interface PlantedCopy {
  readonly original: string;
  readonly check: string;
}

/** All views once, and each with one or two of the copies. */
export async function plantCopies(views: readonly View[], write: Write): Promise<ReadonlyMap<string, PlantedCopy>> {
  const planted = new Map<string, PlantedCopy>();
  for (const [i, view] of views.entries()) {
    const clean = await view.png();
    await write(view.name, clean, "png");
    for (const [k, fault] of copyFaults.entries()) {
      if ((i + k) % 3 !== 0) continue;
      const name = `${view.name}.${k}`;
      const { bytes, extension } = await fault.plant(clean, view, chance(view.name, fault.name));
      await write(name, bytes, extension);
      planted.set(name, { original: view.name, check: fault.check });
    }
  }
  return planted;
}

export const markSets = 12;
const setSize = 20;
const marks = ["© Studio Lumen", "photos.example.org", "A. Painter 24", "", "STOCKPIX"];

/** Set number `set` of 20 views: a third of the sets without a mark, the others with one on 30 to 60 % of them. The marked files. */
export async function plantMarks(views: readonly View[], set: number, write: Write): Promise<ReadonlySet<string>> {
  const shuffled = views.toSorted((a, b) => chance(a.name, String(set)) - chance(b.name, String(set)));
  const own = shuffled.slice(0, setSize);
  const share = set % 3 === 0 ? 0 : 0.3 + 0.3 * chance("share", String(set));
  const text = marks[set % marks.length] ?? "";
  const marked = new Set<string>();
  for (const [i, view] of own.entries()) {
    const name = `${view.name}.${set}`;
    const layers = i < share * own.length ? [{ input: markSvg(view, text, (set * 3) % 4, 0.55 + 0.4 * chance(text)) }] : [];
    if (layers.length > 0) marked.add(name);
    const picture = sharp(await view.png()).composite(layers);
    await write(name, await picture.jpeg({ quality: 90 }).toBuffer(), "jpg");
  }
  return marked;
}
