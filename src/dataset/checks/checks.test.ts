/** What the checks say of sets whose faults are known: pictures of noise, captions as given. */
import { describe, expect, test } from "vitest";
import type { Face } from "../../models/faces/boxes.ts";
import { gatherFacts } from "../inspect.ts";
import { measurePixels } from "../measure/picture.ts";
import { runChecks } from "../report.ts";
import type { InspectionTarget } from "./check.ts";

const target: InspectionTarget = {
  base: "sdxl",
  family: "sdxl",
  type: "character",
  trigger: "sks",
  resolutionPx: 512,
  bucketStepPx: 64,
  batch: 1,
  captionHabit: "either",
  tokenizer: undefined,
};

/** Coloured squares, others for each number. */
function measured(seed: number) {
  const data = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => {
    const [x, y] = [(Math.floor(i / 3) % 64) >> 4, Math.floor(i / 192) >> 4];
    return (Math.imul(1 + x + 4 * y + 16 * (i % 3), 0x9e3779b1 ^ (seed * 0x85ebca6b)) >>> 24) & 255;
  });
  return measurePixels({ widthPx: 64, heightPx: 64, channels: 3, data });
}

/** A set of 512 px pictures with these captions. */
function inspect(captions: readonly string[], options: Partial<InspectionTarget> = {}, faces?: readonly (readonly Face[])[]) {
  const files = captions.map((caption, i) => ({
    item: {
      path: `${i}.png`,
      name: `${i}`,
      widthPx: 512,
      heightPx: 512,
      caption,
      captionSource: caption === "" ? ("none" as const) : ("text file" as const),
      repeats: 1,
      hasAlpha: false,
    },
    file: { fileHash: `${i}`, measurement: measured(i + 1) },
  }));
  return runChecks(gatherFacts(files, { ...target, ...options }, { faces }));
}

const face = (height: number): Face => ({ left: 0.4, top: 0.2, width: 0.2, height, score: 0.9 });
const captions = (count: number): readonly string[] => Array.from({ length: count }, (_, i) => `sks, photo of thing ${i}`);

/** Id, severity and names of findings whose id begins so. */
function told(findings: ReturnType<typeof inspect>, prefix: string) {
  return findings
    .filter(({ id }) => id.startsWith(prefix))
    .map(({ id, severity, pictures }) => [id, severity, pictures.map(({ name }) => name).join(" ")]);
}

test("a bucket with fewer pictures than a batch is a warning, and one with as many is none", () => {
  expect(told(inspect(captions(10), { batch: 12 }), "set.buckets")).toEqual([["set.buckets", "warning", ""]]);
  expect(told(inspect(captions(10), { batch: 10 }), "set.buckets")).toEqual([]);
});

describe("faces", () => {
  const ten = [0.5, 0.5, 0.5, 0.4, 0.3, 0.3, 0.2, 0.1, 0.1, 0.12].map((height) => [face(height)]);

  test("one face each, from near and far, is as it should be", () => {
    expect(told(inspect(captions(10), {}, ten), "faces")).toEqual([]);
  });

  test("faces that were not looked for are not judged", () => {
    expect(told(inspect(captions(10)), "faces")).toEqual([]);
  });

  test("two faces on one picture are a note, on three of ten a warning", () => {
    const doubled = (places: readonly number[]) => ten.map((own, i) => (places.includes(i) ? [...own, face(0.3)] : own));
    expect(told(inspect(captions(10), {}, doubled([4])), "faces")).toEqual([["faces.count", "info", "4"]]);
    expect(told(inspect(captions(10), {}, doubled([4, 6, 9])), "faces")).toEqual([["faces.count", "warning", "4 6 9"]]);
  });

  test("a face is small below 8 % of the height, unless it has 128 px at training size", () => {
    const small = ten.map((own, i) => (i === 9 ? [face(0.06)] : own));
    const [finding] = inspect(captions(10), {}, small).filter(({ id }) => id === "faces.small");
    expect(finding?.pictures).toEqual([{ name: "9", measured: "6 % of the height, 31 px at training size" }]);
    // At 2304 px these 6 % are 138 px.
    expect(told(inspect(captions(10), { resolutionPx: 2304 }, small), "faces")).toEqual([]);
  });

  test("only close-ups, or none from afar, is told with the counts", () => {
    const messages = (heights: readonly number[]) =>
      inspect(
        captions(heights.length),
        {},
        heights.map((height) => [face(height)]),
      )
        .filter(({ id }) => id === "faces.shots")
        .map(({ message }) => message);
    expect(messages([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.2])).toEqual([
      "90 % of the pictures are seen from one distance: 9 close-ups, 1 half figures, 0 full figures.",
    ]);
    expect(messages([0.5, 0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.2])).toEqual([
      "No full figures among 8 pictures with a face: 4 close-ups, 4 half figures, 0 full figures.",
    ]);
    expect(messages([0.5, 0.5, 0.5])).toEqual([]);
  });

  test("where fewer than half of the pictures show a face, that is said and nothing else", () => {
    const few = ten.map((own, i) => (i < 4 ? [...own, face(0.2)] : []));
    expect(told(inspect(captions(10), {}, few), "faces")).toEqual([["faces.few", "info", ""]]);
    expect(
      told(
        inspect(
          captions(10),
          {},
          ten.map(() => []),
        ),
        "faces",
      ),
    ).toEqual([]);
  });
});

describe("captions and words over a set", () => {
  test("a place that most captions name is told for a character, not for a style", () => {
    const same = Array.from({ length: 8 }, (_, i) => `sks, photo of a woman ${i} on a beach`);
    const message = (type: InspectionTarget["type"]) =>
      inspect(same, { type })
        .filter(({ id }) => id === "set.place")
        .map((finding) => finding.message);
    expect(message("character")).toEqual(["Most captions name the same place or light: beach 100 %."]);
    expect(message("style")).toEqual([]);
  });

  test("a look that all captions of a character name is told", () => {
    const drawn = Array.from({ length: 8 }, (_, i) => `sks, watercolor of a woman ${i}`);
    expect(told(inspect(drawn), "set.look")).toEqual([["set.look", "info", ""]]);
    expect(told(inspect(drawn.map((text, i) => (i < 2 ? text.replace("watercolor", "photo") : text))), "set.look")).toEqual([]);
  });

  test("short phrases do not make a mixture of sentences and tags", () => {
    const phrases = ["face with tears of joy", "kissing face", "smiling face with heart eyes", "weary face", "sad face"];
    expect(told(inspect(phrases), "caption.mixed")).toEqual([]);
    const tags = "1girl, solo, blue eyes, long hair, standing";
    const sentence = "a woman with blue eyes and long hair stands on a bridge over a river";
    expect(told(inspect([tags, tags, tags, sentence, sentence]), "caption.mixed")).toEqual([
      ["caption.mixed", "warning", "3 4"],
    ]);
  });

  test("a trigger word that no caption has is a note; one that some lack is a warning", () => {
    expect(told(inspect(["a dog", "a cat", "a bird"]), "trigger.absent")).toEqual([["trigger.absent", "info", "0 1 2"]]);
    expect(told(inspect(["sks, a dog", "a cat", "a bird"]), "trigger.absent")).toEqual([["trigger.absent", "warning", "1 2"]]);
  });

  test("a word that the base draws is told, one that means nothing is not", () => {
    const drawing = { invented: ["blorvex", "vyf"], withWord: [], without: [] };
    const findings = (times: number, deviations: number) =>
      runChecks(gatherFacts([], target, { drawing: { ...drawing, times, deviations } })).filter(
        ({ id }) => id === "trigger.draws",
      );
    const message =
      'The base draws something of its own for "sks": it changes what the base predicts 2.7 times as much as an invented word does, ' +
      "8.4 standard deviations above 2 of them.";
    expect(findings(2.71, 8.42)).toMatchObject([{ severity: "warning", message }]);
    expect(findings(1.3, 3.4)).toEqual([]);
    expect(findings(0.9, -0.8)).toEqual([]);
    // Where a base answers all words alike there is nothing to tell.
    expect(findings(NaN, NaN)).toEqual([]);
  });
});
