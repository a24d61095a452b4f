/** Checks of the set as a whole: size, variety, balance, buckets. */
import { countOf } from "../../words.ts";
import { setSizes } from "../thresholds.ts";
import { namesCertainPlace } from "../caption-places.ts";
import { groupPairs } from "../compare.ts";
import { contentWords, countBy } from "./captions.ts";
import { type Check, countPictures, type InspectedPicture, isSureCopy, limit, percent } from "./check.ts";

export const setChecks: readonly Check[] = [
  {
    id: "set.size",
    title: "number of pictures",
    why: "Too few pictures are learnt by heart; what they share is learnt from many.",
    mend: "Add pictures that differ in everything but what you teach.",
    thresholds: ["countFail"],
    judge({ pictures, copies, target }) {
      // A detail of another picture is a picture of its own; the same one twice is not.
      const same = copies.filter((pair) => isSureCopy(pair) && pair.kind !== "cut out");
      const repeated = groupPairs(pictures.length, same).reduce((sum, group) => sum + group.length - 1, 0);
      const distinct = pictures.length - repeated;
      const [fewest, good, many] = setSizes[target.family][target.type];
      const without = repeated > 0 ? ` (${repeated} copies not counted)` : "";
      const have = `${countPictures(distinct)}${without}`;
      const wanted = `a ${target.type} on ${target.base} wants ${good} to ${many}`;
      if (distinct < limit("countFail")) return [{ severity: "error", message: `Only ${have}; ${wanted}.`, pictures: [] }];
      if (distinct < fewest)
        return [{ severity: "warning", message: `Only ${have}; ${wanted}, and at least ${fewest}.`, pictures: [] }];
      if (distinct < good) return [{ severity: "info", message: `${have}; ${wanted}.`, pictures: [] }];
      return [];
    },
  },
  {
    id: "set.diversity",
    title: "little variety",
    why: "Pictures that are alike teach what they have in common, wanted or not: pose, light, place.",
    mend: "Add pictures that differ: other poses, places, light, distances; for a style, other subjects.",
    thresholds: ["diversityCharacter", "diversityStyle", "diversityWidth"],
    judge({ pictures, diversity, target }) {
      const least = limit(target.type === "character" ? "diversityCharacter" : "diversityStyle");
      if (pictures.length < 5 || diversity >= least) return [];
      const worth = Math.max(1, Math.round(diversity * pictures.length));
      const message = `${pictures.length} pictures are as varied as ${worth} unrelated ones (score ${diversity.toFixed(2)}, at least ${least} wanted).`;
      return [{ severity: "warning", message, pictures: [] }];
    },
  },
  {
    id: "set.cluster",
    title: "one kind of picture outweighs the rest",
    why: "What most pictures look like is what the LoRA draws by default.",
    mend: "Leave out some of them, or give the others more repeats.",
    thresholds: ["clusterLikeness", "clusterShare"],
    judge({ pictures, clusters }) {
      const [largest = []] = clusters;
      if (pictures.length < 8 || largest.length <= limit("clusterShare") * pictures.length) return [];
      const hits = largest.map((place) => ({ name: pictures[place]?.item.name ?? "", measured: "alike in colour and layout" }));
      return [
        {
          severity: "warning",
          message: `${percent(largest.length / pictures.length)} of the pictures are alike in colour and layout.`,
          pictures: hits,
        },
      ];
    },
  },
  {
    id: "set.background",
    title: "the same plain ground",
    why: "A character that is always on the same ground takes the ground along; every sample will have it.",
    mend: "Use pictures with other backgrounds, or name the ground in each caption so that it stays changeable.",
    thresholds: ["sameBackground", "plainGround"],
    judge({ pictures, target }) {
      const plain = pictures.filter(({ measurement }) => measurement.background.share >= limit("plainGround"));
      const grounds = countBy(plain.map(({ measurement }) => measurement.background.rgb.map((value) => value >> 5).join()));
      const most = Math.max(0, ...grounds.values());
      if (target.type === "style" || pictures.length < 5 || most <= limit("sameBackground") * pictures.length) return [];
      return [
        {
          severity: "warning",
          message: `${most === pictures.length ? "All" : `${percent(most / pictures.length)} of the`} pictures stand on the same plain ground.`,
          pictures: [],
        },
      ];
    },
  },
  {
    id: "set.place",
    title: "the same place or light",
    why: "A character should vary in everything but itself: what is always around it is learnt with it.",
    mend: "Add pictures from other places and in other light.",
    thresholds: ["samePlace"],
    judge({ pictures, target }) {
      if (target.type === "style") return [];
      const frequent = shares(pictures, ({ caption }) => caption.words.filter(namesCertainPlace), limit("samePlace"));
      if (frequent.length === 0) return [];
      return [
        { severity: "warning", message: `Most captions name the same place or light: ${listShares(frequent)}.`, pictures: [] },
      ];
    },
  },
  {
    id: "set.look",
    title: "one look in a character set",
    why: "Where all pictures are of one kind, such as stills of one film, their look is learnt with the character.",
    mend: "Add pictures of another kind, keep the look in every caption so that it stays changeable, or use a low rank.",
    thresholds: ["sameLook"],
    judge({ pictures, target }) {
      if (target.type === "style") return [];
      const looks = shares(pictures, ({ caption }) => caption.styleWords, limit("sameLook"));
      if (looks.length === 0) return [];
      return [{ severity: "info", message: `Nearly every caption names the same look: ${listShares(looks)}.`, pictures: [] }];
    },
  },
  {
    id: "set.subjects",
    title: "one subject in a style set",
    why: "A style that is only seen on one subject cannot be told from it: the LoRA draws that subject for any prompt.",
    mend: "Add pictures of other subjects in the same style.",
    thresholds: ["clusterShare"],
    judge({ pictures, target }) {
      const known = pictures.filter(({ caption }) => caption.text !== "");
      const counts = countBy(known.flatMap((picture) => [...new Set(contentWords(picture, target.trigger))]));
      const frequent = [...counts].filter(
        ([, count]) => count > limit("clusterShare") * known.length && count < known.length * limit("entangledTag"),
      );
      if (target.type !== "style" || known.length < 8 || frequent.length === 0) return [];
      const list = frequent.map(([word, count]) => `${word} ${percent(count / known.length)}`).join(", ");
      return [{ severity: "warning", message: `Some subjects are in much of the set: ${list}.`, pictures: [] }];
    },
  },
  {
    id: "set.buckets",
    title: "buckets against the batch",
    why: "A batch holds pictures of one bucket: where a bucket has fewer than a batch, pictures are repeated or batches run short.",
    mend: "Cut pictures to fewer shapes, or use a smaller batch.",
    thresholds: ["bucketsMany", "bucketsSmallSet"],
    judge({ buckets, pictures, target }) {
      const small = buckets.filter(({ exposures }) => exposures < target.batch);
      const isScattered = buckets.length > limit("bucketsMany") && pictures.length < limit("bucketsSmallSet");
      if (small.length === 0 && !isScattered) return [];
      const list = small.map(({ widthPx, heightPx, exposures }) => `${widthPx} x ${heightPx}: ${exposures}`).join(", ");
      const message = isScattered
        ? `${pictures.length} pictures are spread over ${buckets.length} buckets.`
        : `${small.length} of ${countOf(buckets.length, "bucket")} ${small.length === 1 ? "holds" : "hold"} fewer pictures than a batch of ${target.batch} (${list}).`;
      return [{ severity: "warning", message, pictures: [] }];
    },
  },
  {
    id: "set.repeats",
    title: "balance of repeats",
    why: "Folders with more repeats outweigh the others; an epoch that is very long leaves few checkpoints to choose from.",
    mend: "Set the repeats so that each folder is shown about as often as the others (fewer pictures, more repeats).",
    thresholds: ["repeatsRatio", "epochSteps"],
    judge({ pictures, target }) {
      const repeats = pictures.map(({ item }) => item.repeats);
      const steps = repeats.reduce((sum, value) => sum + value, 0) / target.batch;
      const ratio = Math.max(...repeats) / Math.min(...repeats);
      const long = `One epoch takes ${Math.ceil(steps)} steps.`;
      const uneven = `Some pictures are shown ${ratio} times as often as others.`;
      return [
        ...(ratio > limit("repeatsRatio") ? [{ severity: "warning", message: uneven, pictures: [] } as const] : []),
        ...(steps > limit("epochSteps") && Math.max(...repeats) > 1
          ? [{ severity: "info", message: long, pictures: [] } as const]
          : []),
      ];
    },
  },
];

/** Words on more than `least` of the captions of a set that is large enough to tell, commonest first. */
function shares(
  pictures: readonly InspectedPicture[],
  wordsOf: (picture: InspectedPicture) => readonly string[],
  least: number,
): readonly (readonly [word: string, share: number])[] {
  const known = pictures.filter(({ caption }) => caption.text !== "");
  if (known.length < 5) return [];
  const counts = countBy(known.flatMap((picture) => [...new Set(wordsOf(picture))]));
  return [...counts]
    .map(([word, count]) => [word, count / known.length] as const)
    .filter(([, share]) => share > least)
    .sort((a, b) => b[1] - a[1]);
}

function listShares(list: readonly (readonly [word: string, share: number])[]): string {
  return list.map(([word, share]) => `${word} ${percent(share)}`).join(", ");
}
