/** The faults that the proof plants, one a row: what is done to a clean view, and which check must find it. */
import sharp from "sharp";
import type { Sharp, Stats } from "sharp";
import type { View } from "./views.ts";

export interface Fault {
  readonly name: string;
  /** The check that must find it. */
  readonly check: string;
  /** Checks that find it as well as its own does: an enlargement that is blurred outright is told as blur. */
  readonly or?: readonly string[];
  /** Checks that may find it as well, for it is that too: neither right nor wrong. */
  readonly also: readonly string[];
  /** Only planted in views that are sharp: there is nothing to take from others. */
  readonly needsSharp?: boolean;
  /** @param r a number in 0..1 that is the same for the same view */
  plant(png: Buffer, view: View, r: number): Promise<{ readonly bytes: Buffer; readonly extension: string }>;
}

const png = async (pipeline: Sharp) => ({ bytes: await pipeline.png().toBuffer(), extension: "png" });
const jpeg = async (pipeline: Sharp, quality: number) => ({
  bytes: await pipeline.jpeg({ quality }).toBuffer(),
  extension: "jpg",
});
const grounds = ["#000000", "#ffffff", "#1a1a1a", "#e8e2d0", "#3050a0"] as const;
const groundOf = (r: number, skip = 0): string =>
  grounds[(Math.floor(r * grounds.length * 7) + skip) % grounds.length] ?? "#000000";

/** Of the grounds the first, from a place that `r` chooses, that is not the very colour of a plain edge: white paper with more white around it has no bar. */
async function barColour(bytes: Buffer, { widthPx, heightPx }: View, r: number): Promise<string> {
  const strips = [
    { left: 0, top: 0, width: widthPx, height: 2 },
    { left: 0, top: heightPx - 2, width: widthPx, height: 2 },
    { left: 0, top: 0, width: 2, height: heightPx },
    { left: widthPx - 2, top: 0, width: 2, height: heightPx },
  ];
  const edges = await Promise.all(strips.map(async (strip) => (await cutStats(bytes, strip)).channels.slice(0, 3)));
  const isSame = (ground: string): boolean =>
    edges.some((channels) =>
      channels.every(({ mean, stdev }, c) => {
        const value = parseInt(ground.slice(1 + 2 * c, 3 + 2 * c), 16);
        return stdev < 6 && Math.abs(mean - value) < 12;
      }),
    );
  for (let skip = 0; skip < grounds.length; skip++) if (!isSame(groundOf(r, skip))) return groundOf(r, skip);
  return groundOf(r);
}

type Strip = { readonly left: number; readonly top: number; readonly width: number; readonly height: number };

/** Of the strip alone: statistics are those of the whole input otherwise. */
async function cutStats(bytes: Buffer, strip: Strip): Promise<Stats> {
  return sharp(await sharp(bytes).extract(strip).png().toBuffer()).stats();
}

export const faults: readonly Fault[] = [
  {
    name: "Gaussian blur, 2.5 to 6 px",
    check: "sharpness.blur",
    also: ["exposure.flat", "sharpness.soft"],
    needsSharp: true,
    plant: (bytes, _, r) => jpeg(sharp(bytes).blur(2.5 + 3.5 * r), 92),
  },
  {
    name: "enlarged 1.7 to 3 times",
    check: "sharpness.soft",
    or: ["sharpness.blur"],
    also: ["sharpness.blur"],
    needsSharp: true,
    async plant(bytes, { widthPx, heightPx }, r) {
      const small = await sharp(bytes)
        .resize(Math.round(widthPx / (1.7 + 1.3 * r)))
        .png()
        .toBuffer();
      return jpeg(sharp(small).resize(widthPx, heightPx, { fit: "fill", kernel: r < 0.5 ? "cubic" : "lanczos3" }), 92);
    },
  },
  {
    name: "under-exposed: a sixteenth to a fifth of the light",
    check: "exposure.dark",
    also: ["exposure.flat", "content.little", "sharpness.blur", "frame.border"],
    plant: (bytes, _, r) => jpeg(sharp(bytes).linear(0.06 + 0.14 * r, 0), 92),
  },
  {
    name: "over-exposed: all within the lightest 2 to 4 %",
    check: "exposure.light",
    also: ["exposure.flat", "content.little", "sharpness.blur", "frame.border"],
    plant: (bytes, _, r) => jpeg(sharp(bytes).linear(0.015 + 0.02 * r, 250), 92),
  },
  {
    name: "haze: a twentieth to a seventh of the contrast",
    check: "exposure.flat",
    also: ["exposure.light", "content.little", "sharpness.blur", "frame.border"],
    plant: (bytes, _, r) => jpeg(sharp(bytes).linear(0.05 + 0.09 * r, 120), 92),
  },
  {
    name: "one small shape on one colour",
    check: "content.little",
    also: ["exposure.flat", "exposure.light", "exposure.dark"],
    plant(_, { widthPx, heightPx }, r) {
      const shape = `<svg width="${widthPx}" height="${heightPx}"><rect width="100%" height="100%" fill="${groundOf(r)}"/><circle cx="50%" cy="50%" r="${40 + 60 * r}" fill="#c04030"/></svg>`;
      return png(sharp(Buffer.from(shape)));
    },
  },
  {
    name: "bars above and below or at the sides, 4 to 14 %",
    check: "frame.border",
    also: [],
    async plant(bytes, view, r) {
      const { widthPx, heightPx } = view;
      const share = 0.04 + 0.1 * r;
      const isAbove = Math.round(r * 100) % 2 === 0;
      const [x, y] = isAbove ? [0, Math.round(share * heightPx)] : [Math.round(share * widthPx), 0];
      const background = await barColour(bytes, view, r);
      return jpeg(sharp(bytes).extend({ top: y, bottom: y, left: x, right: x, background }), 92);
    },
  },
  {
    name: "a frame of 2 to 6 %",
    check: "frame.border",
    also: [],
    async plant(bytes, view, r) {
      const side = Math.round((0.02 + 0.04 * r) * view.widthPx);
      const background = await barColour(bytes, view, r);
      return jpeg(sharp(bytes).extend({ top: side, bottom: side, left: side, right: side, background }), 92);
    },
  },
  {
    name: "one bar of 5 to 14 %, at any side",
    check: "frame.border",
    also: [],
    async plant(bytes, view, r) {
      const { widthPx, heightPx } = view;
      const share = 0.05 + 0.09 * r;
      const side = (["top", "right", "bottom", "left"] as const)[Math.round(r * 1000) % 4] ?? "top";
      const px = Math.round(share * (side === "top" || side === "bottom" ? heightPx : widthPx));
      return jpeg(sharp(bytes).extend({ [side]: px, background: await barColour(bytes, view, r) }), 85);
    },
  },
  {
    name: "bars of film: dark, noisy, with a soft edge, quality 60",
    check: "frame.border",
    also: ["compression.jpeg"],
    async plant(bytes, { widthPx, heightPx }, r) {
      const bar = Math.round((0.05 + 0.08 * r) * heightPx);
      const noise = { type: "gaussian", mean: 10 + 20 * r, sigma: 2 + 3 * r } as const;
      const height = heightPx + 2 * bar;
      const grain = await sharp({ create: { width: widthPx, height, channels: 3, background: "#000", noise } })
        .png()
        .toBuffer();
      const mask = `<svg width="${widthPx}" height="${height}"><filter id="b"><feGaussianBlur stdDeviation="0 1.2"/></filter><rect x="-20" width="${widthPx + 40}" y="${bar}" height="${heightPx}" fill="#fff" filter="url(#b)"/></svg>`;
      const picture = await sharp(bytes).ensureAlpha().extend({ top: bar, bottom: bar, background: "#000" }).png().toBuffer();
      const soft = await sharp(picture)
        .composite([{ input: Buffer.from(mask), blend: "dest-in" }])
        .png()
        .toBuffer();
      return jpeg(sharp(grain).composite([{ input: soft }]), 60);
    },
  },
  {
    name: "saved as JPEG of quality 8 to 35",
    check: "compression.jpeg",
    also: ["sharpness.soft"],
    plant: (bytes, _, r) => jpeg(sharp(bytes), Math.round(8 + 27 * r)),
  },
  {
    name: "the same, cut by 1 to 7 px and saved again as PNG",
    check: "compression.jpeg",
    also: ["sharpness.soft"],
    async plant(bytes, { widthPx, heightPx }, r) {
      const low = await sharp(bytes)
        .jpeg({ quality: Math.round(8 + 27 * r) })
        .toBuffer();
      const [left, top] = [1 + (Math.round(r * 100) % 7), 1 + (Math.round(r * 1000) % 7)];
      return png(sharp(low).extract({ left, top, width: widthPx - left, height: heightPx - top }));
    },
  },
  {
    name: "transparent in part",
    check: "frame.transparent",
    also: ["exposure.light"],
    plant(bytes, { widthPx, heightPx }, r) {
      const hole = `<svg width="${widthPx}" height="${heightPx}"><ellipse cx="50%" cy="50%" rx="${35 + 10 * r}%" ry="40%" fill="#fff"/></svg>`;
      return png(
        sharp(bytes)
          .ensureAlpha()
          .composite([{ input: Buffer.from(hole), blend: "dest-in" }]),
      );
    },
  },
  {
    name: "a fifth to a half of the side",
    check: "resolution.small",
    also: ["sharpness.soft"],
    plant: (bytes, { widthPx }, r) => png(sharp(bytes).resize(Math.round(widthPx * (0.2 + 0.3 * r)))),
  },
  {
    name: "cut to a strip of 3.2 to 6 to 1",
    check: "shape.aspect",
    also: ["shape.crop", "resolution.small", "exposure.flat", "content.little"],
    plant: (bytes, { widthPx, heightPx }, r) =>
      png(
        sharp(bytes).extract({
          left: 0,
          top: Math.round(heightPx * 0.3),
          width: widthPx,
          height: Math.max(32, Math.round(widthPx / (3.2 + 2.8 * r))),
        }),
      ),
  },
];

/** Checks that need a clean view to be there more than once. */
export interface CopyFault {
  readonly name: string;
  readonly check: string;
  plant(png: Buffer, view: View, r: number): Promise<{ readonly bytes: Buffer; readonly extension: string }>;
}

export const copyFaults: readonly CopyFault[] = [
  { name: "the same file", check: "copies.exact", plant: (bytes) => Promise.resolve({ bytes, extension: "png" }) },
  {
    name: "the same pixels in another file",
    check: "copies.exact",
    plant: async (bytes) => ({ bytes: await sharp(bytes).webp({ lossless: true }).toBuffer(), extension: "webp" }),
  },
  {
    name: "smaller, recompressed, brighter",
    check: "copies.altered",
    plant: (bytes, { widthPx }, r) =>
      jpeg(
        sharp(bytes)
          .resize(Math.round(widthPx * (0.5 + 0.4 * r)))
          .linear(1.06, 4),
        70,
      ),
  },
  { name: "mirrored and recompressed", check: "copies.mirrored", plant: (bytes) => jpeg(sharp(bytes).flop(), 85) },
  {
    name: "cut to 65 to 88 % of the side",
    check: "copies.cut",
    plant(bytes, { widthPx, heightPx }, r) {
      const share = 0.65 + 0.23 * r;
      const [width, height] = [Math.round(widthPx * share), Math.round(heightPx * share)];
      const left = Math.round((widthPx - width) * ((r * 7) % 1));
      const top = Math.round((heightPx - height) * ((r * 13) % 1));
      return jpeg(sharp(bytes).extract({ left, top, width, height }), 88);
    },
  },
];

/** A mark as sites put it on pictures, in a corner: half-transparent letters, or a small emblem where `text` is empty. */
export function markSvg({ widthPx, heightPx }: View, text: string, corner: number, opacity: number): Buffer {
  const size = 0.035 * Math.min(widthPx, heightPx);
  const x = corner % 2 === 0 ? size : widthPx - size;
  const y = corner < 2 ? 1.8 * size : heightPx - size;
  const anchor = corner % 2 === 0 ? "start" : "end";
  const ink = `fill="#fff" stroke="#000" stroke-width="${size / 20}" opacity="${opacity}"`;
  const letters = `<text x="${x}" y="${y}" font-family="sans-serif" font-weight="bold" font-size="${size}" text-anchor="${anchor}" ${ink}>${text}</text>`;
  return Buffer.from(
    `<svg width="${widthPx}" height="${heightPx}">${text === "" ? emblem(corner, size, x, y, ink) : letters}</svg>`,
  );
}

/** A ring with a bar through it, 2.6 letters high. */
function emblem(corner: number, size: number, x: number, y: number, ink: string): string {
  const r = 1.3 * size;
  const [cx, cy] = [corner % 2 === 0 ? x + r : x - r, corner < 2 ? y - 0.8 * size + r : y - r];
  const bar = `<rect x="${cx - 1.7 * r}" y="${cy - 0.2 * r}" width="${3.4 * r}" height="${0.4 * r}" ${ink}/>`;
  return `<path fill-rule="evenodd" d="M${cx - r},${cy}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0M${cx - 0.7 * r},${cy}a${0.7 * r},${0.7 * r} 0 1,1 ${1.4 * r},0a${0.7 * r},${0.7 * r} 0 1,1 ${-1.4 * r},0" ${ink}/>${bar}`;
}
