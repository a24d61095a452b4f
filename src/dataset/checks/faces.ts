/** Checks of the faces in a character set: how many, how large, and from how far. Only judged where the character has a face that is found. */
import type { Face } from "../../models/faces/boxes.ts";
import type { Shot } from "../faces.ts";
import { type Check, countPictures, type Hit, type InspectedPicture, type InspectionFacts, limit, percent } from "./check.ts";

export const faceChecks: readonly Check[] = [
  {
    id: "faces.few",
    title: "faces on few pictures",
    why: "Faces are found as photographs and paintings show them. Those of drawn characters, masks, animals, and faces that are turned away often are not: their count and size say nothing then.",
    mend: "Look through the set yourself: one character, large enough to be seen, from different distances.",
    thresholds: ["facesJudged"],
    judge(facts) {
      const { faces = [], pictures } = facts;
      const seen = faces.filter((own) => own.length > 0).length;
      if (seen === 0 || isOfPerson(facts)) return [];
      const message = `A face was found in only ${seen} of ${pictures.length} pictures; faces are not judged.`;
      return [{ severity: "info", message, pictures: [] }];
    },
  },
  {
    id: "faces.count",
    title: "one face on each picture",
    why: "Of two faces the LoRA cannot know which is meant, and learns a mixture; a picture without the face does not teach it.",
    mend: "Cut the others out of the picture, or leave it out. A few pictures from behind are fine if the caption says so.",
    thresholds: ["oneFace", "facesJudged"],
    judge(facts) {
      if (!isOfPerson(facts)) return [];
      const counted = withFaces(facts).map(({ picture, faces }) => ({ name: picture.item.name, count: faces.length }));
      const single = counted.filter(({ count }) => count === 1).length / Math.max(1, counted.length);
      const several = counted.filter(({ count }) => count > 1);
      const isBad = single < limit("oneFace");
      const shown = isBad ? counted.filter(({ count }) => count !== 1) : several;
      if (shown.length === 0) return [];
      const hits: readonly Hit[] = shown.map(({ name, count }) => ({
        name,
        measured: count === 0 ? "no face found" : `${count} faces`,
      }));
      const many = `${countPictures(several.length)} ${several.length === 1 ? "shows" : "show"} several faces`;
      const message = isBad ? `Only ${percent(single)} of the pictures show exactly one face; ${many}.` : `${many}.`;
      return [{ severity: isBad ? "warning" : "info", message, pictures: hits }];
    },
  },
  {
    id: "faces.small",
    title: "small faces",
    why: "A face of a few pixels teaches a blur where a face should be; the base then draws its own.",
    mend: "Cut the picture closer around the person, or train at a larger --resolution.",
    thresholds: ["faceHeight", "facePx", "facesJudged"],
    judge(facts) {
      if (!isOfPerson(facts)) return [];
      const hits = withFaces(facts).flatMap(({ picture, faces }) => {
        const height = tallest(faces);
        const px = height * picture.item.heightPx * picture.fit.scale;
        if (height === 0 || height >= limit("faceHeight") || px >= limit("facePx")) return [];
        return [
          { name: picture.item.name, measured: `${percent(height)} of the height, ${Math.round(px)} px at training size` },
        ];
      });
      if (hits.length === 0) return [];
      const message = `${countPictures(hits.length)} ${hits.length === 1 ? "shows" : "show"} the face very small.`;
      return [{ severity: "warning", message, pictures: hits }];
    },
  },
  {
    id: "faces.shots",
    title: "near and far",
    why: "A character that is only seen from one distance can only be drawn from there: a set of close-ups makes every sample a close-up.",
    mend: "Add pictures from the distances that are missing: close-ups for the face, half and full figures for the clothes and the build.",
    thresholds: ["shotClose", "shotHalf", "shotShare", "facesJudged"],
    judge(facts) {
      const shots = countShots(facts);
      const total = shots["close-up"] + shots.half + shots.full;
      if (!isOfPerson(facts) || total < limit("shotsLeast")) return [];
      const missing = shotNames.filter((shot) => shots[shot] === 0);
      const most = shotNames.find((shot) => shots[shot] > limit("shotShare") * total);
      if (missing.length === 0 && most === undefined) return [];
      const counts = `${shots["close-up"]} close-ups, ${shots.half} half figures, ${shots.full} full figures`;
      const message =
        most === undefined
          ? `No ${missing.map((shot) => plurals[shot]).join(" and no ")} among ${total} pictures with a face: ${counts}.`
          : `${percent(shots[most] / total)} of the pictures are seen from one distance: ${counts}.`;
      return [{ severity: "warning", message, pictures: [] }];
    },
  },
];

const plurals = { "close-up": "close-ups", half: "half figures", full: "full figures" } as const;
export const shotNames: readonly Shot[] = ["close-up", "half", "full"];

/** Pictures by how near the largest face is; those without a face are not counted. */
export function countShots({ faces = [] }: Pick<InspectionFacts, "faces">): Record<Shot, number> {
  const counts = { "close-up": 0, half: 0, full: 0 };
  for (const own of faces) {
    const shot = shotOf(own);
    if (shot !== undefined) counts[shot]++;
  }
  return counts;
}

export function shotOf(faces: readonly Face[]): Shot | undefined {
  const height = tallest(faces);
  if (height === 0) return undefined;
  return height > limit("shotClose") ? "close-up" : height >= limit("shotHalf") ? "half" : "full";
}

/** Whether the character has a face that the network knows as one. */
export function isOfPerson({ faces = [] }: Pick<InspectionFacts, "faces">): boolean {
  return faces.length > 0 && faces.filter((own) => own.length > 0).length >= limit("facesJudged") * faces.length;
}

function withFaces({
  pictures,
  faces = [],
}: InspectionFacts): readonly { picture: InspectedPicture; faces: readonly Face[] }[] {
  return pictures.map((picture, place) => ({ picture, faces: faces[place] ?? [] }));
}

function tallest(faces: readonly Face[]): number {
  return faces.reduce((most, { height }) => Math.max(most, height), 0);
}
