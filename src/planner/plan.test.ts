/** Plans: what the recipes give, what the user's choices change, and what is refused or warned of. */
import { expect, test } from "vitest";
import { datasetFacts as dataset, narrow, sd15, sdxl } from "../../test/plan-facts.ts";
import { type BaseFacts, type DatasetFacts, planTraining, settingsOf, type UserChoices } from "./plan.ts";
import { recipes } from "./recipes.ts";
import { isHeuristic } from "./sources.ts";

function plan(choices: Partial<UserChoices> = {}, facts: Partial<DatasetFacts> = {}, base = sd15) {
  return planTraining({ ...dataset, ...facts }, base, undefined, {
    name: "fox",
    runFolder: "runs/fox",
    cacheFolder: "cache",
    type: "style",
    createdAt: "2026-01-01T00:00:00.000Z",
    ...choices,
  });
}

test("a style on SD 1.5 with 20 pictures gets the recipe's numbers", () => {
  const { rank, alpha, steps, batch, learningRate, textEncoderLearningRate, warmupSteps, resolutionPx, previewPrompts } =
    settingsOf(plan());
  expect({ rank, alpha, steps, batch, learningRate, textEncoderLearningRate, warmupSteps, resolutionPx }).toEqual({
    rank: 32,
    alpha: 16,
    steps: 2000,
    batch: 2,
    learningRate: 2e-4,
    textEncoderLearningRate: 0,
    warmupSteps: 100,
    resolutionPx: 512,
  });
  expect(previewPrompts).toEqual(["a fox", "a hen", "an owl"]);
});

test("steps grow with the square root of the number of pictures, within the recipe's range", () => {
  expect(plan({}, { pictures: 45 }).steps.value).toBe(3000);
  expect(plan({}, { pictures: 2000 }).steps.value).toBe(4000);
});

test("the rate follows the square root of the batch, and of alpha the other way", () => {
  expect(plan({ batch: 8 }).learningRate.value).toBe(4e-4);
  expect(plan({ alpha: 4 }).learningRate.value).toBe(4e-4);
  expect(plan({ rank: 64 }).learningRate.value).toBe(2e-4);
  // Alpha is kept at or below the rank, so a rank of 8 halves it.
  expect(settingsOf(plan({ rank: 8 }))).toMatchObject({ alpha: 8, learningRate: 2.83e-4 });
});

test("every value has a reason and a source, the plan survives JSON, and settingsOf gives the values back", () => {
  const made = plan({ seed: 7 });
  expect(JSON.parse(JSON.stringify(made))).toEqual(made);
  expect(made.seed).toEqual({ value: 7, reason: "you chose it", source: "you" });
  const planned = Object.values(made).filter((entry) => typeof entry === "object" && "reason" in entry);
  for (const entry of planned as { reason: string; source?: string }[]) {
    expect(entry.reason).not.toBe("");
    expect(entry.source ?? "").not.toBe("");
  }
  expect(Object.keys(settingsOf(made))).toHaveLength(planned.length);
});

test("a base of narrow layers takes mini's recipes, and a rank that fits its narrowest layer", () => {
  const made = plan({}, {}, narrow);
  expect(made.family).toBe("mini");
  expect(made.rank.value).toBe(16);
  expect(() => plan({ rank: 17 }, {}, narrow)).toThrow(/Rank 17 does not fit .*attn2\.to_k, which is 16 wide/);
});

test("a rank below 1 or of a part is refused", () => {
  expect(() => plan({ rank: 0 })).toThrow(/Rank 0/);
  expect(() => plan({ rank: 1.5 })).toThrow(/Rank 1.5/);
});

test("numbers out of range, names that are no file names, and resolutions off the grid are refused", () => {
  expect(() => plan({ learningRate: NaN })).toThrow('The setting "learning rate" cannot be NaN.');
  expect(() => plan({ steps: 0 })).toThrow('The setting "steps" cannot be 0.');
  expect(() => plan({ name: "a/b" })).toThrow(/cannot be a file's name/);
  expect(() => plan({ resolutionPx: 500 })).toThrow(/not a multiple of 64/);
});

test("the user's choices are kept and judged", () => {
  const made = plan({ rank: 64, alpha: 128, noiseOffset: 0.2, learningRate: 1e-2 });
  expect(made.rank.value).toBe(64);
  expect(made.warnings).toEqual([
    "Alpha 128 is above rank 64: the adapter acts more strongly than usual. Lower it, or the learning rate.",
    "Rank 64 with 20 pictures learns them by heart. 16 or 32 is enough.",
    "2000 steps at 0.01 will probably be too much (dose 160). Keep an early checkpoint, or lower --steps or --learning-rate.",
    "Noise offset 0.2 above 0.1 gives harsh contrast. Give 0.03 to 0.1, or 0.",
  ]);
});

test("a plan by the recipe has nothing to warn of", () => {
  expect(plan().warnings).toEqual([]);
});

test("with fewer than six pictures none is held out", () => {
  expect(plan({}, { pictures: 5 }).heldOutFraction.value).toBe(0);
  expect(plan().heldOutFraction.value).toBe(0.12);
});

test("the second text encoder has the first one's rate unless it is given its own", () => {
  const rates = (choices: Partial<UserChoices>, base = sdxl) => {
    const { textEncoderLearningRate, textEncoder2LearningRate } = plan(choices, {}, base);
    return [textEncoderLearningRate, textEncoder2LearningRate];
  };
  expect(rates({ textEncoderLearningRate: 1e-5 })).toEqual([
    { value: 1e-5, reason: "you chose it", source: "you" },
    { value: 1e-5, reason: "the same as the first text encoder's", source: "you" },
  ]);
  expect(rates({ textEncoder2LearningRate: 2e-5 }).map(({ value }) => value)).toEqual([0, 2e-5]);
  expect(rates({ textEncoderLearningRate: 1e-5 }, sd15)[1]).toMatchObject({
    value: 0,
    reason: "the base has one text encoder",
  });
});

test("a rate for a second text encoder that the base has not, or below 0, is refused", () => {
  expect(() => plan({ textEncoder2LearningRate: 1e-5 })).toThrow("sd15 has one text encoder");
  expect(() => plan({ textEncoder2LearningRate: -1 }, {}, sdxl)).toThrow('The setting "text encoder 2 rate" cannot be -1.');
});

test("captions are read to the end of the longest, in as many chunks as that takes, up to three", () => {
  const of = (longestCaption: number | undefined, choices: Partial<UserChoices> = {}) =>
    plan(choices, { longestCaption }).maxCaptionTokens;
  expect([0, 75, 76, 150, 151, 225].map((tokens) => of(tokens).value)).toEqual([75, 75, 150, 150, 225, 225]);
  expect(of(131).reason).toBe("the longest caption has 131 tokens, and the text encoder reads 75 at once");
  expect(of(400)).toMatchObject({
    value: 225,
    reason: "the most there is; the longest caption has 400 tokens, of which the end is not seen",
  });
  expect(of(undefined).value).toBe(75);
  expect(of(131, { maxCaptionTokens: 75 })).toMatchObject({ value: 75, reason: "you chose it" });
});

test("a caption length that is not one, two or three chunks is refused with those that are", () => {
  for (const maxCaptionTokens of [0, 77, 100, 300, NaN]) {
    expect(() => plan({ maxCaptionTokens })).toThrow(
      expect.objectContaining({ fix: "Give 75, 150 or 225.", exitCode: 2 }) as Error,
    );
  }
});

test("clip skip is SD 1.5's to choose, 1 or 2; SDXL reads the second-to-last layer whatever is asked", () => {
  expect(plan().clipSkip.value).toBe(1);
  expect(plan({ clipSkip: 2 }).clipSkip).toMatchObject({ value: 2, reason: "you chose it" });
  for (const clipSkip of [0, 3, 1.5]) expect(() => plan({ clipSkip })).toThrow(`A clip skip of ${clipSkip} is of no use.`);
  expect(plan({}, {}, sdxl).clipSkip).toMatchObject({ value: 2, reason: "SDXL always reads the second-to-last layer" });
  expect(plan({ clipSkip: 2 }, {}, sdxl).clipSkip.value).toBe(2);
  expect(() => plan({ clipSkip: 1 }, {}, sdxl)).toThrow("sdxl cannot be read with a clip skip of 1");
});

test("only layers of text encoders that are trained limit the rank", () => {
  const [first] = sd15.textEncoders;
  if (!first) throw new Error("a text encoder needed");
  const narrowEncoder = { name: "text_encoder_2", config: { ...first.config, hiddenSize: 24 } } as const;
  const base: BaseFacts = { ...sdxl, textEncoders: [first, narrowEncoder] };
  expect(plan({ rank: 64, textEncoderLearningRate: 1e-5, textEncoder2LearningRate: 0 }, {}, base).rank.value).toBe(64);
  expect(() => plan({ rank: 64, textEncoder2LearningRate: 1e-5 }, {}, base)).toThrow(/text_encoder_2\.\S+, which is 24 wide/);
});

test("a large base on the processor alone, and a warm-up that does not end, are warned of", () => {
  const choices = {
    name: "fox",
    runFolder: "r",
    cacheFolder: "c",
    type: "style",
    createdAt: "2026-01-01T00:00:00.000Z",
  } as const;
  expect(planTraining(dataset, sd15, { engine: "ort" }, choices).warnings).toEqual([
    "sd15 will take very long on the processor alone. Give a Python with PyTorch and a GPU (--python), or train mini.",
  ]);
  expect(planTraining(dataset, narrow, { engine: "ort" }, choices).warnings).toEqual([]);
  expect(plan({ warmupSteps: 2000 }).warnings).toEqual([
    "The warm-up of 2000 steps does not end within 2000: the learning rate is never reached. Lower --warmup to a twentieth of the steps.",
  ]);
});

test("what the base was trained from settles prediction, schedule, clip skip and the captions it is used to", () => {
  const noob: BaseFacts = {
    ...sdxl,
    lineage: { name: "noobai", reason: "its name says so" },
    schedule: { predictionType: "v_prediction", trainTimesteps: 1000, zeroTerminalSnr: true },
    scheduleReason: "the file holds the tensors v_pred and ztsnr",
  };
  const made = plan({}, {}, noob);
  expect(made.lineage).toMatchObject({ value: "noobai", reason: "its name says so" });
  expect(made.predictionType).toMatchObject({ value: "v_prediction", reason: "the file holds the tensors v_pred and ztsnr" });
  expect(made.zeroTerminalSnr).toMatchObject({ value: true, reason: expect.stringContaining("ends in pure noise") as string });
  expect(made.captionStyle.value).toBe("tags");
  expect(made.clipSkip).toMatchObject({ value: 2, reason: expect.stringContaining("SDXL always") as string });
  expect(() => plan({ clipSkip: 1 }, {}, noob)).toThrow("sdxl cannot be read with a clip skip of 1");
});

test("clip skip is 2 on an anime model on SD 1.5, unless the user chooses", () => {
  const anime: BaseFacts = { ...sd15, lineage: { name: "sd15-anime", reason: "you said so" } };
  expect(plan({}, {}, anime).clipSkip).toMatchObject({ value: 2, reason: "usual for an anime model on Stable Diffusion 1.5" });
  expect(plan({ clipSkip: 1 }, {}, anime).clipSkip).toMatchObject({ value: 1, reason: "you chose it" });
});

test("sentences as captions for a base that is used to tags are warned of", () => {
  const pony: BaseFacts = { ...sdxl, lineage: { name: "pony", reason: "its name says so" } };
  const sentence = "A small red fox sits on a mossy stone beside a stream and looks at the rising sun behind the hills";
  const isWarned = (captions: readonly string[], base: BaseFacts) =>
    plan({}, { captions }, base).warnings.some((warning) => warning.includes("was trained on tags"));
  expect(isWarned([sentence], pony)).toBe(true);
  expect(isWarned([sentence], sdxl)).toBe(false);
  expect(
    isWarned(["fox, red fur, sitting, moss, stone, stream, sunrise, hills, looking away, tail, outdoors, no humans"], pony),
  ).toBe(false);
});

const ofLineage = (name: "pony" | "illustrious" | "noobai" | "noobai-vpred", base: BaseFacts = sdxl): BaseFacts => ({
  ...base,
  lineage: { name, reason: "its name says so" },
});

test("a character on Pony is trained without min-SNR, with a noise offset, and with a text encoder at a fifth", () => {
  const settings = settingsOf(plan({ type: "character", trigger: "fox" }, {}, ofLineage("pony")));
  expect(settings).toMatchObject({
    rank: 8,
    alpha: 4,
    learningRate: 3e-4,
    textEncoderLearningRate: 6e-5,
    batch: 4,
    steps: 500,
    schedule: "cosine",
    minSnrGamma: 0,
    noiseOffset: 0.03,
  });
});

test("a character on Illustrious and on NoobAI is trained alike: text encoder at a tenth, min-SNR 5, no noise offset", () => {
  const of = (name: "illustrious" | "noobai") => settingsOf(plan({ type: "character", trigger: "fox" }, {}, ofLineage(name)));
  const wanted = { rank: 8, alpha: 4, learningRate: 3e-4, textEncoderLearningRate: 3e-5, minSnrGamma: 5, noiseOffset: 0 };
  expect(of("illustrious")).toMatchObject(wanted);
  expect(of("noobai")).toMatchObject(wanted);
});

test("a base of v prediction gets the lower rate and no noise offset, whatever its name", () => {
  const schedule = { predictionType: "v_prediction", trainTimesteps: 1000, zeroTerminalSnr: true } as const;
  const wanted = { learningRate: 1.5e-4, noiseOffset: 0, predictionType: "v_prediction", zeroTerminalSnr: true };
  const choices = { type: "character", trigger: "fox" } as const;
  expect(settingsOf(plan(choices, {}, { ...ofLineage("noobai-vpred"), schedule }))).toMatchObject(wanted);
  expect(settingsOf(plan(choices, {}, { ...ofLineage("noobai"), schedule }))).toMatchObject(wanted);
});

test("a character on SDXL keeps a constant rate of 1e-4 at rank 32 and leaves both text encoders alone", () => {
  expect(settingsOf(plan({ type: "character", trigger: "fox" }, {}, sdxl))).toMatchObject({
    rank: 32,
    alpha: 16,
    learningRate: 1e-4,
    textEncoderLearningRate: 0,
    textEncoder2LearningRate: 0,
    schedule: "constant",
    warmupSteps: 0,
    steps: 2000,
  });
});

test("a number that nobody has published is marked as heuristic, one of sd-scripts is not", () => {
  expect(isHeuristic(plan({ type: "concept", trigger: "fox" }, {}, sdxl).steps.source ?? "")).toBe(true);
  expect(plan({ type: "character", trigger: "fox" }, {}, sdxl).learningRate.source).toBe(
    "kohya sd-scripts docs, SimpleTuner docs",
  );
});

test("each recipe's rank holds its alpha, and its default exposures lie in its range", () => {
  for (const family of Object.values(recipes)) {
    for (const { rank, alpha, exposures, exposuresRange, sources } of Object.values(family)) {
      expect(alpha).toBeLessThanOrEqual(rank);
      expect(exposures).toBeGreaterThanOrEqual(exposuresRange[0]);
      expect(exposures).toBeLessThanOrEqual(exposuresRange[1]);
      expect(Object.values(sources).every((source) => source !== "")).toBe(true);
    }
  }
});
