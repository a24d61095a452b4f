/** The pictures that the proof of the dataset inspection starts from: photographs, paintings and drawings without planted faults. */
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import sharp from "sharp";
import type { Sharp } from "sharp";
import { UserError } from "../../src/errors.ts";

export const pictureFolder = ".cache/inspect-pictures";

/** Debian packages, with the licence of the pictures that are used. */
export const packages: readonly { readonly name: string; readonly licence: string }[] = [
  { name: "mate-backgrounds", licence: "GPL-2+ and CC-BY-SA, see its copyright file" },
  { name: "ukui-wallpapers", licence: "CC-BY-SA-4.0, see its copyright file" },
  { name: "gnome-backgrounds", licence: "CC-BY-SA-3.0, see its copyright file" },
  { name: "plasma-workspace-wallpapers", licence: "CC-BY-SA-4.0 and LGPL-3, see its copyright file" },
  { name: "opencv-doc", licence: "Apache-2.0, see its copyright file" },
  { name: "tuxpaint-stamps-default", licence: "GPL-2+ and public domain, see its copyright file" },
];

/** Chosen by name before anything was measured: those that show something. Empty gradients are left out. */
const wanted: Readonly<Record<string, RegExp>> = {
  "mate-backgrounds":
    /\/(?:Elephants|Aqua|Blinds|Dune|FreshFlower|Garden|GreenMeadow|LadyBird|RainDrops|Storm|TwoWings|Wood|YellowFlower)\.jpg$/,
  "ukui-wallpapers":
    /\/(?:2004default|calla|city|desert|firstgeneration|focal-ubuntukylin|goldfish|rhythm|rollpaper|string|the-mouse)\.(?:png|jpg)$/,
  "gnome-backgrounds": /\/(?:pixels-l|symbolic-l|truchet-l|adwaita-l)\.webp$/,
  "plasma-workspace-wallpapers":
    /\/(?:Altai|Autumn|BytheWater|Canopee|Cascade|Cluster|ColdRipple|ColorfulCups|EveningGlow|FallenLeaf|Flow|FlyingKonqui|Grey|Honeywave|IceCold|Kay|Kite|Kokkini|MilkyWay|OneStandsOut|PastelHills|Patak|Path|SafeLanding|Shell|Volna)\/contents\/images\/(?:2560x1600|3840x2160|5120x2880|3200x2000)\.(?:png|jpg)$/,
  "opencv-doc":
    /\/data\/(?:aero1|aloeL|apple|baboon|board|building|ela_original|fruits|graf1|leuvenA|starry_night|stuff|chicky_512)\.(?:png|jpg)$/,
  "tuxpaint-stamps-default": /\/(?:animals|vehicles|food|plants|people|household|hobbies|sports|town|seasonal)\/.*\.svg$/,
};

/**
 * Faults that sources seem to have by themselves, by the beginning of the name. Labelled by eye, but by someone who knew what a first
 * run had found in both halves: they favour the checks, so the proof prints precision without them as well, and that is the one to quote.
 */
export const natural: readonly (readonly [views: RegExp, checks: readonly string[]])[] = [
  [
    /^(?:LadyBird|RainDrops|Garden|Aqua|FreshFlower|TwoWings|Storm|YellowFlower|FallenLeaf|stuff|Kite|ela_original|apple)/,
    ["sharpness.blur", "sharpness.soft"],
  ],
  [/^(?:city|focal-ubuntukylin|the-mouse|firstgeneration|MilkyWay)/, ["exposure.dark", "exposure.flat", "content.little"]],
  [/^(?:prune|wig2|shamrock|grapes|guitar|pencil2|fork|hair_manga)/, ["exposure.light", "exposure.flat", "content.little"]],
  [/^(?:desert|rollpaper|symbolic|Wood|Cluster|FlyingKonqui)/, ["exposure.flat", "content.little"]],
];

/** Whether a view has a fault of its own. */
export function isNatural(view: string, check: string): boolean {
  return natural.some(([views, checks]) => views.test(view) && checks.includes(check));
}

/** One view of a source at the size that the proof trains at, as PNG. */
export interface View {
  readonly name: string;
  /** Which of two disjoint parts of the sources it belongs to: thresholds were set on "tune" alone. */
  readonly half: "tune" | "test";
  readonly widthPx: number;
  readonly heightPx: number;
  png(): Promise<Buffer>;
}

const drawingPx = 1024;
/** Stamps taken of the many. */
const maxDrawings = 24;

/** @throws UserError when the packages were not fetched */
export async function findViews(): Promise<readonly View[]> {
  const views: View[] = [];
  for (const { name } of packages) {
    const folder = join(pictureFolder, name);
    const pattern = wanted[name] ?? /^$/;
    const files = listFiles(folder).filter((file) => pattern.test(`/${file}`));
    if (files.length === 0)
      throw new UserError(`${folder} holds no pictures.`, { fix: "npx tsx bench/inspect/pictures.ts fetches them." });
    const chosen = name.startsWith("tuxpaint") ? spread(files, maxDrawings) : oneEach(files);
    for (const file of chosen) views.push(await viewOf(join(folder, file), file));
  }
  return views.map(remembered);
}

/** Wallpapers of 15 megapixels take a while to decode, and each view is used many times. */
function remembered(view: View): View {
  let bytes: Promise<Buffer> | undefined;
  return { ...view, png: () => (bytes ??= view.png()) };
}

function listFiles(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  } catch {
    return [];
  }
}

/** Of wallpapers in several sizes only the first. */
function oneEach(files: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  return files.filter((file) => {
    const key = file.includes("/contents/") ? (file.split("/contents/")[0] ?? file) : file;
    return !seen.has(key) && seen.add(key);
  });
}

function spread(files: readonly string[], count: number): readonly string[] {
  return files.filter((_, i) => i % Math.max(1, Math.floor(files.length / count)) === 0).slice(0, count);
}

/** The left half of a wide wallpaper, all of the rest. Pictures are only ever made smaller, so views are as sharp as they can be. */
async function viewOf(path: string, file: string): Promise<View> {
  const id = createHash("sha256").update(file).digest("hex");
  const half = parseInt(id.slice(0, 2), 16) % 2 === 0 ? "tune" : "test";
  const title = basename(file.split("/contents/")[0] ?? file).replace(/\.\w+$/, "");
  const name = `${title.replace(/[^\w-]/g, "-")}-${id.slice(0, 4)}`;
  if (path.endsWith(".svg")) {
    const paper = { fit: "contain", background: "#fff" } as const;
    const png = () => toPng(sharp(path, { density: 300 }).resize(drawingPx, drawingPx, paper));
    return { name, half, widthPx: drawingPx, heightPx: drawingPx, png };
  }
  const { width: wide, height } = await sharp(path).metadata();
  const width = wide >= 2400 && height >= 1300 ? Math.floor(wide / 2) : wide;
  const scale = Math.min(1, Math.sqrt((drawingPx * drawingPx) / (width * height)));
  const [widthPx, heightPx] = [Math.round(width * scale), Math.round(height * scale)];
  const png = () => toPng(sharp(path).extract({ left: 0, top: 0, width, height }).resize(widthPx, heightPx, { fit: "fill" }));
  return { name, half, widthPx, heightPx, png };
}

function toPng(pipeline: Sharp): Promise<Buffer> {
  return pipeline.flatten({ background: "#fff" }).toColourspace("srgb").png({ compressionLevel: 1 }).toBuffer();
}
