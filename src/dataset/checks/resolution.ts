/** Checks of size and shape: whether a picture has the pixels that it is trained at, and what its bucket cuts off. */
import {
  type Check,
  countPictures,
  type InspectedPicture,
  type InspectionTarget,
  isOrAre,
  limit,
  percent,
  perPicture,
} from "./check.ts";

export const resolutionChecks: readonly Check[] = [
  {
    id: "resolution.small",
    title: "too few pixels",
    why: "A picture with fewer pixels than it is trained at is enlarged; the LoRA learns its softness along with what it shows.",
    mend: "Use a larger original, enlarge it with a good upscaler and look at the result, train at a smaller --resolution, or leave it out.",
    thresholds: ["areaWarn", "areaFail"],
    judge: (facts) =>
      perPicture(
        facts,
        (picture) => {
          const share = areaShare(picture, facts.target);
          if (share >= limit("areaWarn")) return undefined;
          const measured = `${sizeOf(picture)}, ${percent(share)} of the target`;
          return { severity: share < limit("areaFail") ? "error" : "warning", measured };
        },
        (count, severity) =>
          `${count} ${isOrAre(count)} ${severity === "error" ? "far " : ""}smaller than ${facts.target.resolutionPx} x ${facts.target.resolutionPx} px.`,
      ),
  },
  {
    id: "resolution.many-enlarged",
    title: "much of the set enlarged",
    why: "One soft picture among many is harmless; when many are enlarged, softness is what they have in common.",
    mend: "Train at a --resolution that most pictures reach, or replace the small ones.",
    thresholds: ["enlargedShare", "areaWarn"],
    judge({ pictures, target }) {
      const enlarged = pictures.filter((picture) => areaShare(picture, target) < limit("areaWarn")).length;
      if (enlarged <= limit("enlargedShare") * pictures.length) return [];
      const message = `${percent(enlarged / pictures.length)} of the pictures (${enlarged} of ${pictures.length}) have to be enlarged.`;
      return [{ severity: "warning", message, pictures: [] }];
    },
  },
  {
    id: "shape.aspect",
    title: "very long or tall",
    why: "Bases know pictures up to about 1:4; beyond, they repeat what they draw, and no bucket holds the whole picture.",
    mend: "Cut it to the part that matters, or into several pictures.",
    thresholds: ["aspectWarn", "aspectFail"],
    judge: (facts) =>
      perPicture(
        facts,
        (picture) => {
          const { widthPx, heightPx } = picture.item;
          const aspect = Math.max(widthPx / heightPx, heightPx / widthPx);
          if (aspect <= limit("aspectWarn")) return undefined;
          return {
            severity: aspect > limit("aspectFail") ? "error" : "warning",
            measured: `${sizeOf(picture)}, ${aspect.toFixed(1)} to 1`,
          };
        },
        (count) => `${count} ${isOrAre(count)} more than ${limit("aspectWarn")} times as long as wide.`,
      ),
  },
  {
    id: "shape.crop",
    title: "much cut off by its bucket",
    why: "What is cut off is not seen, but the caption still speaks of it; heads and feet go first.",
    mend: "Cut the picture yourself around what matters.",
    thresholds: ["cropWarn", "cropFail"],
    judge: (facts) =>
      perPicture(
        facts,
        ({ fit }) => {
          if (fit.cropFraction <= limit("cropWarn")) return undefined;
          const measured = `${percent(fit.cropFraction)} cut off for ${fit.bucket.widthPx} x ${fit.bucket.heightPx}`;
          return { severity: fit.cropFraction > limit("cropFail") ? "error" : "warning", measured };
        },
        (count) =>
          `${count} ${count.startsWith("1 ") ? "loses" : "lose"} more than ${percent(limit("cropWarn"))} to fit a bucket.`,
      ),
  },
];

/** The picture's area over the area that it is trained at. */
export function areaShare({ item }: InspectedPicture, { resolutionPx }: InspectionTarget): number {
  return (item.widthPx * item.heightPx) / (resolutionPx * resolutionPx);
}

export function sizeOf({ item }: InspectedPicture): string {
  return `${item.widthPx} x ${item.heightPx} px`;
}

/** "3 of 40 pictures" */
export function ofAll(count: number, all: number): string {
  return `${count} of ${countPictures(all)}`;
}
