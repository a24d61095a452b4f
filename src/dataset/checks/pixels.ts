/** Checks of what the pixels are like: blur, exposure, emptiness, borders, transparency, compression, repeated marks. */
import { type Borders } from "../measure/borders.ts";
import { DETAIL_SCALES } from "../measure/detail.ts";
import { type Check, type InspectedPicture, isOrAre, limit, percent, perPicture } from "./check.ts";

export const pixelChecks: readonly Check[] = [
  {
    id: "sharpness.blur",
    title: "blurred",
    why: "Blur is a look like any other: the LoRA learns it, and draws it.",
    mend: "Use a sharper picture, or train at a smaller --resolution, where the blur is less than a pixel.",
    thresholds: ["blurPx"],
    judge: (facts) =>
      perPicture(
        facts,
        (picture) => {
          const blur = blurAtTraining(picture);
          if (blur === undefined || blur < limit("blurPx")) return undefined;
          return {
            severity: "warning",
            measured: `edges ${blur.toFixed(1)} px wide at ${picture.fit.bucket.widthPx} x ${picture.fit.bucket.heightPx}`,
          };
        },
        (count) =>
          `${count} ${isOrAre(count)} blurred at the size ${count.startsWith("1 ") ? "it is" : "they are"} trained at.`,
      ),
  },
  {
    id: "sharpness.soft",
    title: "less detail than pixels",
    why: "A picture that was enlarged before it came here, or is a little out of focus, has the pixels of its size but not the detail.",
    mend: "Find the original, or train at a smaller --resolution; where most of the set is so, samples will be soft.",
    thresholds: ["softDetail", "enlargementPeak", "blurPx"],
    judge: (facts) =>
      perPicture(
        facts,
        (picture) => {
          const share = shareOfDetail(picture);
          if (share === undefined || share >= 1) return undefined;
          const wasEnlarged = picture.measurement.enlargement >= limit("enlargementPeak") && picture.fit.scale > 0.6;
          // What is blurred outright is told by that check, unless it is known to be an enlargement.
          if (!wasEnlarged && (blurAtTraining(picture) ?? 0) >= limit("blurPx")) return undefined;
          const { bucket, scale } = picture.fit;
          const px = (side: number): number => Math.round((share * side) / Math.max(1, scale));
          const rhythm = wasEnlarged ? ", with the rhythm of an enlargement" : "";
          return {
            severity: wasEnlarged ? "warning" : "info",
            measured: `the detail of about ${px(bucket.widthPx)} x ${px(bucket.heightPx)} px${rhythm}`,
          };
        },
        (count, severity) => {
          const have = count.startsWith("1 ") ? "has" : "have";
          return severity === "warning"
            ? `${count} ${have} less detail than pixels, and ${have} been enlarged before.`
            : `${count} ${have} less detail than pixels.`;
        },
      ),
  },
  {
    id: "exposure.dark",
    title: "too dark",
    why: "Where nearly all is black there is nothing to learn but the black, and samples come out dark.",
    mend: "Brighten it, or leave it out.",
    thresholds: ["dark"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ measurement: { brightness99 } }) =>
          brightness99 < limit("dark")
            ? { severity: "warning", measured: `brightest 1 % at ${percent(brightness99)}` }
            : undefined,
        (count) => `${count} ${isOrAre(count)} almost black.`,
      ),
  },
  {
    id: "exposure.light",
    title: "too light",
    why: "Where nearly all is white there is nothing to learn but the white.",
    mend: "Darken it, cut it closer to what it shows, or leave it out.",
    thresholds: ["light"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ measurement: { brightness5 } }) =>
          brightness5 > limit("light")
            ? { severity: "warning", measured: `all but 5 % above ${percent(brightness5)}` }
            : undefined,
        (count) => `${count} ${isOrAre(count)} almost white.`,
      ),
  },
  {
    id: "exposure.flat",
    title: "no contrast",
    why: "A hazy picture teaches haze.",
    mend: "Raise its contrast, or leave it out.",
    thresholds: ["toneRange"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ measurement: { toneRange } }) =>
          toneRange < limit("toneRange")
            ? { severity: "warning", measured: `${toneRange} of 256 grey levels from its darkest to its lightest` }
            : undefined,
        (count) => `${count} ${count.startsWith("1 ") ? "has" : "have"} hardly any contrast.`,
      ),
  },
  {
    id: "content.little",
    title: "almost nothing to see",
    why: "A picture of one or two flat colours has little to teach, and is learnt by heart.",
    mend: "Leave it out, unless it is what you want to teach.",
    thresholds: ["entropyBits"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ measurement: { entropyBits } }) =>
          entropyBits < limit("entropyBits")
            ? { severity: "warning", measured: `${entropyBits.toFixed(1)} bits a pixel` }
            : undefined,
        (count) => `${count} ${count.startsWith("1 ") ? "shows" : "show"} almost nothing.`,
      ),
  },
  {
    id: "frame.border",
    title: "bars or a frame",
    why: "Bars at the edges are the easiest thing in a picture to learn: samples will have them.",
    mend: "Cut them off.",
    fix: "cuts off bars that lie on both sides",
    thresholds: ["borderShare", "borderAlone", "borderMost"],
    judge: (facts) =>
      perPicture(
        facts,
        (picture) => {
          const borders = bordersToTrim(picture);
          return borders && { severity: "warning", measured: describeBorders(borders) };
        },
        (count) => `${count} ${count.startsWith("1 ") ? "has" : "have"} bars or a frame of one colour.`,
      ),
  },
  {
    id: "frame.transparent",
    title: "transparent parts",
    why: "Transparent parts are trained as white, and samples get white ground; with masks they can be left out instead.",
    mend: "Put a ground behind it if white is not meant, and name it in the caption.",
    thresholds: ["transparentShare", "transparentWarn"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ measurement: { transparent } }) => {
          if (transparent <= limit("transparentShare")) return undefined;
          return {
            severity: transparent > limit("transparentWarn") ? "warning" : "info",
            measured: `${percent(transparent)} transparent`,
          };
        },
        (count) => `${count} ${count.startsWith("1 ") ? "has" : "have"} transparent parts, which are trained as white.`,
      ),
  },
  {
    id: "compression.jpeg",
    title: "JPEG blocks",
    why: "Flaws of compression are learnt before the subject is, on Flux above all (SimpleTuner's documentation).",
    mend: "Use a version that was compressed less; saving it again at a higher quality does not bring back what was lost.",
    thresholds: ["blockiness", "ringing", "jpegQuality"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ measurement, fit }) => {
          const { blockiness, ringing, jpegQuality } = measurement;
          const isLow = jpegQuality !== undefined && jpegQuality < limit("jpegQuality");
          // Blocks that are made much smaller for training are gone.
          if (fit.scale < 0.5 || !(isLow || blockiness >= limit("blockiness") || ringing >= limit("ringing"))) return undefined;
          const quality = jpegQuality === undefined ? "" : `, quality ${jpegQuality}`;
          return {
            severity: "warning",
            measured: `blocks stand out by ${Math.max(blockiness, ringing).toFixed(1)} grey levels${quality}`,
          };
        },
        (count) => `${count} ${isOrAre(count)} compressed so much that blocks are seen.`,
      ),
  },
  {
    id: "marks.corner",
    title: "the same mark in a corner",
    why: "A watermark or signature on many pictures is the surest thing that a LoRA learns, and the quickest on Flux.",
    mend: "Cut the corner off, paint the mark out, or use pictures without it.",
    thresholds: [
      "markShare",
      "markMinimum",
      "markSeed",
      "markCorrelation",
      "markLikeness",
      "markFaint",
      "markStandsOut",
      "markEvidence",
      "markInner",
      "markLine",
    ],
    judge: ({ marks, pictures }) =>
      marks.map(({ corner, pictures: places }) => ({
        // On a fifth of the pictures, which is the least that is found, it will be learnt.
        severity: "error",
        message: `${places.length} of ${pictures.length} pictures have the same mark in the ${corner} corner.`,
        pictures: places.map((place) => ({ name: pictures[place]?.item.name ?? "", measured: corner })),
      })),
  },
];

/** The blur in pixels of the bucket; undefined where nothing has edges, or where the picture is too small to be judged. */
export function blurAtTraining(picture: InspectedPicture): number | undefined {
  const { measurement, fit } = picture;
  return measurement.blurPx === undefined ? undefined : measurement.blurPx * Math.min(1, fit.scale);
}

/**
 * How large a picture could be, as a share of the side that it is trained at, and show the same detail; 1 and more where it has all the
 * detail that its pixels hold, undefined where nothing can be told of it.
 */
export function shareOfDetail({ measurement: { detail }, fit }: InspectedPicture): number | undefined {
  const scale = Math.min(1, fit.scale);
  if (detail === undefined || scale < (DETAIL_SCALES.at(-1) ?? 0)) return undefined;
  const last = DETAIL_SCALES.length - 1;
  const least = limit("softDetail");
  const logAt = (i: number): number => Math.log(Math.max(1e-6, detail[i] ?? 0) / least);
  // The largest size at which the finest frequencies hold enough: between two sizes as a straight line in logarithms.
  for (let i = 0; i <= last; i++) {
    if (logAt(i) < 0) continue;
    const here = DETAIL_SCALES[i] ?? 1;
    if (i === 0) return Math.max(1, 1 / scale);
    const share = logAt(i) / Math.max(1e-6, logAt(i) - logAt(i - 1));
    return (here + share * ((DETAIL_SCALES[i - 1] ?? 1) - here)) / scale;
  }
  return (DETAIL_SCALES[last] ?? 0) / scale;
}

/** Borders that are no part of the picture, or undefined. A bar that has none on the other side must be wider, for a wall may end at one. */
export function bordersToTrim({
  measurement,
}: {
  readonly measurement: Pick<InspectedPicture["measurement"], "borders" | "widthPx" | "heightPx">;
}): Borders | undefined {
  const { borders, widthPx, heightPx } = measurement;
  if (!borders) return undefined;
  const [leftPx, rightPx] = barsAcross(borders.leftPx, borders.rightPx, widthPx);
  const [topPx, bottomPx] = barsAcross(borders.topPx, borders.bottomPx, heightPx);
  return leftPx + rightPx + topPx + bottomPx > 0 ? { leftPx, topPx, rightPx, bottomPx } : undefined;
}

/** Of two opposite sides, what is a bar. */
function barsAcross(near: number, far: number, side: number): readonly [number, number] {
  if (near + far > limit("borderMost") * side) return [0, 0];
  if (Math.min(near, far) >= limit("borderShare") * side) return [near, far];
  const least = limit("borderAlone") * side;
  return [near >= least ? near : 0, far >= least ? far : 0];
}

function describeBorders({ leftPx, rightPx, topPx, bottomPx }: Borders): string {
  const sides = [
    ...(leftPx + rightPx > 0 ? [`left ${leftPx}, right ${rightPx} px`] : []),
    ...(topPx + bottomPx > 0 ? [`top ${topPx}, bottom ${bottomPx} px`] : []),
  ];
  return sides.join(", ");
}
