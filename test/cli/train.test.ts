/** gesso train and gesso sample from end to end, on a toy base model: what a run leaves behind, and going on after Ctrl-C. */
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { TrainEvent, TrainPlan } from "../../src/index.ts";
import { writeToyBase, writeToyDataset } from "../toy-base.ts";
import { type CommandResult, gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
// Squares with one caption are no good dataset, and inspection says so: --yes begins all the same.
const settings = ["--type", "style", "--trigger", "toy", "--rank", "2", "--batch", "2", "--steps", "6", "--seed", "3", "--yes"];
const trainArgs = (out: string, ...more: string[]) => [
  "train",
  inside("pictures"),
  "--base",
  inside("base"),
  ...settings,
  "--out",
  inside(out),
  ...more,
];
const isStep = (step: number) => (line: string) => line.startsWith(`{"type":"step","step":${step},`);

let whole: CommandResult;
beforeAll(async () => {
  // The date stands in the result: two runs can only be equal to the byte when they begin at one time.
  vi.useFakeTimers({ toFake: ["Date"], now: new Date("2026-01-02T03:04:05Z") });
  await writeToyBase(inside("base"), "sdxl");
  await writeToyDataset(inside("pictures"), 6);
  // One caption, so that previews have one row.
  for (let i = 0; i < 6; i++) await writeFile(inside("pictures", `square-${i}.txt`), "square");
  whole = await gesso(trainArgs("whole"));
}, 120_000);
afterAll(() => void vi.useRealTimers());

async function readEvents(run: string): Promise<TrainEvent[]> {
  const text = await readFile(inside(run, "toy", "events.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as TrainEvent);
}

describe("a run", () => {
  test("ends with exit code 0 and nothing on the error stream", () => {
    expect(whole.err).toEqual([]);
    expect(whole.exitCode).toBe(0);
  });

  test("leaves the files that the contract names, and no other", async () => {
    const found = await readdir(inside("whole", "toy"), { recursive: true });
    const checkpoints = [1, 2, 3, 4, 5, 6].flatMap((step) => {
      const folder = `checkpoints/step-00000${step}`;
      // The newest two can be gone on from.
      const optimizer = step > 4 ? [`${folder}/optimizer.safetensors`] : [];
      return [folder, `${folder}/adapter.safetensors`, `${folder}/state.json`, ...optimizer];
    });
    const files = found.map((path) => path.replaceAll("\\", "/"));
    const sheets = files.filter((path) => path.startsWith("samples/"));
    expect(sheets).toContain("samples/step-000006.png");
    const others = ["plan.json", "events.jsonl", "report.html", "toy.safetensors", "checkpoints", "samples", ...checkpoints];
    expect(files.sort()).toEqual([...others, ...sheets].sort());
  });

  test("has a plan with the choices and their reasons", async () => {
    const plan = JSON.parse(await readFile(inside("whole", "toy", "plan.json"), "utf8")) as TrainPlan;
    expect(plan.rank).toEqual({ value: 2, reason: "you chose it", source: "you" });
    expect(plan.trigger.value).toBe("toy");
    expect(plan.schedule.reason).not.toBe("");
  });

  test("has an event for each step, each measurement and each checkpoint, from the preflight to done", async () => {
    const events = await readEvents("whole");
    const count = (type: TrainEvent["type"]) => events.filter((event) => event.type === type).length;
    expect(events.slice(0, 2).map(({ type }) => type)).toEqual(["preflight", "start"]);
    expect(events.at(-1)?.type).toBe("done");
    expect([count("step"), count("validation"), count("checkpoint")]).toEqual([6, 7, 6]);
    expect(count("sample")).toBeGreaterThan(0);
  });

  test("is told in lines of at most 100 columns, but for paths and commands to copy", () => {
    const lines = whole.out.flatMap((text) => text.split("\n")).filter((line) => !line.includes(inside()));
    expect(lines.length).toBeGreaterThan(50);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(100);
  });

  test("says before it begins what it will do and why, and at the end what came of it", () => {
    const [page = "", ...rest] = whole.out;
    expect(page).toMatch(/^Dataset\n {2}.*pictures: 6 pictures of 40 x 40 to 64 x 32 px, all with captions\.\n/);
    expect(page).toContain('The trigger word "toy" was put in front of all 6 captions: none had it.');
    expect(page.slice(page.indexOf("\nPlan"), page.indexOf("\nMemory")).replaceAll(inside(), "").replaceAll("\\", "/"))
      .toMatchInlineSnapshot(`
        "
        Plan
          base model         /base
          teaches            style         what the adapter is to teach
          trigger word       toy           you chose it
          rank               2             you chose it
          alpha              2             no more than the rank [HoloStrawberry colab]
          layers             attention+ff  closes the gap to full fine-tuning; convolutions add little
                                           [demystifying-sd-finetuning's logs]
          steps              6             you chose it
          batch              2             you chose it
          accumulation       1             a larger batch is not needed
          learning rate      0.002         0.001 is usual at batch 4 and alpha 16; scaled by their square
                                           roots [measured on Gesso's examples; scaling: LyCORIS guidelines,
                                           demystifying-sd-finetuning's logs]
          text encoder rate  off           text encoders are left alone: they tend to forget [kohya
                                           sd-scripts docs]
          schedule           cosine        usual for this kind [measured on Gesso's examples]
          resolution         32 px         what the base was made for
          caption length     14 tokens     the longest caption has 10 tokens, and the text encoder reads 14
                                           at once
          caption dropout    0.05          a style must hold without words too [LyCORIS guidelines]
          held out           12 %          about one picture in eight tells when to stop [kohya sd-scripts
                                           docs]
          checkpoint every   1 step        ten a run, so that the best one can be kept [Civitai's trainer]
          preview every      3 steps       halfway and at the end [heuristic]
          seed               3             you chose it
          engine             ort           the CPU; no PyTorch with a GPU was found
        "
      `);
    expect(page).toMatch(/\nWhere\n {2}Result: +.*toy\.safetensors\n/);
    expect(
      Math.max(
        ...page
          .split("\n")
          .filter((line) => !line.includes(inside()))
          .map(({ length }) => length),
      ),
    ).toBeLessThanOrEqual(100);
    expect(rest.filter((line) => line.startsWith("step "))).toHaveLength(6);
    const end = rest.at(-1) ?? "";
    for (const part of ["Done in", "Result", "Kept     step", "Preview", "Report", "gesso sample --base"])
      expect(end).toContain(part);
    // One forecast, before and after.
    expect(end).toContain(`${/at most (\S+ [MG]B) in /.exec(page)?.[1]} was forecast`);
    expect(rest.filter((line) => line.includes("was put in front"))).toEqual([]);
  });
});

describe("a run that Ctrl-C stops", () => {
  let stopped: CommandResult;
  beforeAll(async () => {
    stopped = await gesso(trainArgs("stopped", "--json"), isStep(3));
  }, 120_000);

  test("saves itself, says how to go on, and ends with exit code 130", async () => {
    expect(stopped.exitCode).toBe(130);
    expect(stopped.err.join("\n")).toContain(
      `Stopped after step 3; everything is saved.\nGo on with: gesso train --resume ${inside("stopped", "toy")}`,
    );
    expect(await readdir(inside("stopped", "toy", "checkpoints"))).toContain("step-000003");
    await expect(stat(inside("stopped", "toy", "toy.safetensors"))).rejects.toThrow("ENOENT");
  });

  test("prints every event as a line of JSON with --json", () => {
    const types = stopped.out.map((line) => (JSON.parse(line) as TrainEvent).type);
    expect(types).toContain("validation");
    expect(types.filter((type) => type === "step")).toHaveLength(3);
    expect(types.at(-1)).toBe("stopped");
  });

  test("goes on with --resume to the same bytes as a run that was never stopped", async () => {
    const resumed = await gesso(["train", "--resume", inside("stopped", "toy")]);
    expect(resumed.err).toEqual([]);
    expect(resumed.exitCode).toBe(0);
    expect(resumed.out[0]?.replace(/\s+/g, " ")).toBe(
      `Going on with ${inside("stopped", "toy")}: a style on base, trigger word "toy", 6 steps in all, as its plan.json says.`,
    );
    expect(resumed.out.join("\n")).toContain("Going on after step 3 of 6");
    for (const file of [
      "toy.safetensors",
      "checkpoints/step-000006/optimizer.safetensors",
      "checkpoints/step-000006/adapter.safetensors",
    ]) {
      const [a, b] = await Promise.all(["whole", "stopped"].map((run) => readFile(inside(run, "toy", file))));
      expect(a && b && a.equals(b), file).toBe(true);
    }
  });
});

test("a run that Ctrl-C stops before its first step can be gone on with", async () => {
  const stopped = await gesso(trainArgs("early"), (line) => line.startsWith("Dataset"));
  expect(stopped.exitCode).toBe(130);
  expect(stopped.out.at(-1)).toContain("Stopped before the first step.");
  const resumed = await gesso(["train", "--resume", inside("early", "toy")]);
  expect(resumed.exitCode).toBe(0);
  const [a, b] = await Promise.all(["whole", "early"].map((run) => readFile(inside(run, "toy", "toy.safetensors"))));
  expect(a && b && a.equals(b)).toBe(true);
});

test("a new run goes on from an adapter file with its rank and alpha", async () => {
  const adapter = inside("whole", "toy", "toy.safetensors");
  const args = [
    "train",
    inside("pictures"),
    "--base",
    inside("base"),
    "--continue-from",
    adapter,
    "--steps",
    "1",
    "--name",
    "further",
    "--out",
    inside("more"),
    "--yes",
  ];
  const { exitCode, err } = await gesso(args);
  expect(err).toEqual([]);
  expect(exitCode).toBe(0);
  const plan = JSON.parse(await readFile(inside("more", "further", "plan.json"), "utf8")) as TrainPlan;
  expect([plan.rank.value, plan.continueFrom.value]).toEqual([2, adapter]);
});

test("every option of the training is a setting of the plan, and the page tells those that were chosen", async () => {
  const chosen = [
    ["--schedule", "constant", "schedule", "constant"],
    ["--warmup", "1", "warmupSteps", 1],
    ["--min-snr-gamma", "0", "minSnrGamma", 0],
    ["--noise-offset", "0.05", "noiseOffset", 0.05],
    ["--caption-dropout", "0.25", "captionDropout", 0.25],
    ["--max-grad-norm", "0.5", "maxGradNorm", 0.5],
    ["--preview-every", "0", "previewEvery", 0],
    ["--validate-every", "2", "validateEvery", 2],
    ["--checkpoint-every", "2", "checkpointEvery", 2],
    ["--held-out", "0.34", "heldOutFraction", 0.34],
    ["--learning-rate", "0.003", "learningRate", 0.003],
    ["--text-encoder-learning-rate", "0", "textEncoderLearningRate", 0],
    ["--text-encoder-2-learning-rate", "0.0005", "textEncoder2LearningRate", 0.0005],
  ] as const;
  const options = chosen.flatMap(([option, value]) => [option, value]);
  // Stopped before its first step: the plan is written, and nothing more is asked of it.
  const { out } = await gesso(trainArgs("chosen", "--flip", ...options), (line) => line.startsWith("Dataset"));
  const plan = JSON.parse(await readFile(inside("chosen", "toy", "plan.json"), "utf8")) as TrainPlan;
  for (const [, , setting, value] of chosen) expect(plan[setting], setting).toMatchObject({ value, reason: "you chose it" });
  expect(plan.flip.value).toBe(true);
  for (const line of ["mirrored", "warm-up", "longest gradient", "min-SNR gamma", "noise offset", "text encoder 2 rate"])
    expect(out[0]).toMatch(new RegExp(`\\n {2}${line} +\\S.* you chose it`));
});

test("the help of train is grouped", async () => {
  const { out } = await gesso(["train", "--help"]);
  const lines = out.join("\n").split("\n");
  const headings = lines.filter((line, i) => lines[i - 1] === "" && lines[i + 1]?.startsWith("  --"));
  expect(headings).toEqual([
    "What to learn",
    "How to read the base model",
    "How long, and how often to look",
    "The adapter",
    "Advanced",
    "Running",
  ]);
});

test("a picture is drawn with the adapter at a weight, and the weight makes a difference", async () => {
  const draw = async (name: string, ...more: string[]) => {
    const args = [
      "sample",
      "--base",
      inside("base"),
      "--prompt",
      "toy, square",
      "--steps",
      "2",
      "--out",
      inside("drawn", name),
      ...more,
    ];
    const { exitCode, err } = await gesso(args);
    expect([exitCode, err]).toEqual([0, []]);
    // The pixels alone: the file also says which adapters it was drawn with.
    return sharp(inside("drawn", name)).raw().toBuffer();
  };
  const adapter = inside("whole", "toy", "toy.safetensors");
  const plain = await draw("plain.png");
  expect((await draw("same.png", "--lora", `${adapter}:0`)).equals(plain)).toBe(true);
  expect((await draw("with.png", "--lora", `${adapter}:50`)).equals(plain)).toBe(false);
});
