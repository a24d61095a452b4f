/** The preflight: what it finds before the first step, and that it leaves no trace in a run's numbers. */
import { execFile } from "node:child_process";
import { readdir, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collect, createToy, type Toy, toyOptions } from "../../test/toy-run.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import type { Engine } from "../engines/engine.ts";
import { UserError } from "../errors.ts";
import { writePng } from "../formats/images.ts";
import type { TrainPlan, UserChoices } from "../planner/plan.ts";
import type { TrainEvent } from "./events.ts";
import { readEvents } from "./run-folder.ts";
import { resumeTraining, train } from "./train.ts";

let toy: Toy;
const previews: Partial<UserChoices> = { previewPrompts: ["square"], previewSteps: 2 };

beforeAll(async () => {
  toy = await createToy("sdxl");
}, 60_000);
afterAll(() => rm(toy.folder, { recursive: true, force: true }));

const withPreflight = { ...toyOptions, preflight: true };

async function bytesOf(plan: TrainPlan): Promise<readonly Buffer[]> {
  const folder = plan.runFolder.value;
  const last = join(folder, "checkpoints", "step-000004");
  const samples = (await readdir(join(folder, "samples"))).map((name) => join(folder, "samples", name));
  const files = [join(folder, `${plan.name.value}.safetensors`), join(last, "optimizer.safetensors"), ...samples];
  return Promise.all(files.map((path) => readFile(path)));
}

/** The same plan in another folder: the name stands in the result. */
function inFolder(plan: TrainPlan, folder: string): TrainPlan {
  return { ...plan, runFolder: { value: join(toy.folder, "runs", folder), reason: "" } };
}

const numbersOf = (events: readonly TrainEvent[]) =>
  events.flatMap((event) => (event.type === "step" ? [[event.step, event.loss, event.gradNorm]] : []));

test("a run that is stopped and gone on with, each time after a preflight, has the adapter, moments, sheets and losses of an undisturbed one without, to the byte", async () => {
  const plan = await toy.plan("same", previews);
  const plain = inFolder(plan, "plain");
  const without = await collect(train(plain, toyOptions));
  const tried = inFolder(plan, "tried");
  const controller = new AbortController();
  const events = await collect(train(tried, { ...withPreflight, signal: controller.signal }), (event) => {
    if (event.type === "step" && event.step === 3) controller.abort();
  });
  const rest = await collect(resumeTraining(tried.runFolder.value, withPreflight));
  expect(numbersOf([...events, ...rest])).toEqual(numbersOf(without));
  expect(await bytesOf(tried)).toEqual(await bytesOf(plain));

  const told = events.filter(({ type }) => type !== "progress" && type !== "warning");
  expect(told.slice(0, 3).map(({ type }) => type)).toEqual(["preflight", "start", "validation"]);
  const [event] = told;
  if (event?.type !== "preflight") return;
  expect(event.bucket).toEqual({ widthPx: 32, heightPx: 32, batch: 2 });
  // The one picture of another size is held out.
  expect(event.sizes).toEqual({ count: 1, compiled: 1, checked: 0 });
  for (const ms of [event.stepMs, event.preview?.samplerStepMs, event.preview?.decodeMs, event.checkpointMs])
    expect(ms).toBeGreaterThan(0);
  const checkpoint = join(plain.runFolder.value, "checkpoints", "step-000004");
  const sizes = await Promise.all((await readdir(checkpoint)).map(async (name) => (await stat(join(checkpoint, name))).size));
  const written = sizes.reduce((sum, size) => sum + size, 0);
  // Its metadata tell the step and the measurements so far.
  expect(Math.abs(event.checkpointBytes - written)).toBeLessThan(0.05 * written);
  expect((await readEvents(join(tried.runFolder.value, "events.jsonl")))[0]).toEqual(event);
}, 120_000);

test("with accumulation and a text encoder trained, a preflight leaves no trace either, and its steps are not prepared again", async () => {
  const plan = await toy.plan("summed", { batch: 1, accumulation: 2, textEncoderLearningRate: 1e-4, steps: 4, maxAspect: 1 });
  const plain = inFolder(plan, "plain sums");
  const tried = inFolder(plan, "tried sums");
  const without = await collect(train(plain, toyOptions));
  const events = await collect(train(tried, withPreflight));
  expect(numbersOf(events)).toEqual(numbersOf(without));
  expect(await bytesOf(tried)).toEqual(await bytesOf(plain));
  const at = events.findIndex(({ type }) => type === "preflight");
  expect(events.slice(at).filter((event) => event.type === "progress" && event.phase === "compile")).toEqual([]);
}, 120_000);

test("the step of every size in training is ready after a preflight: none is prepared in the run", async () => {
  const plan = await toy.plan("sizes", { heldOutFraction: 0 });
  const events = await collect(train(plan, withPreflight));
  const at = events.findIndex(({ type }) => type === "preflight");
  expect(events[at]).toMatchObject({ sizes: { count: 2, compiled: 2, checked: 0 } });
  expect(events.slice(at).filter((event) => event.type === "progress" && event.phase === "compile")).toEqual([]);
}, 60_000);

test("a disk that cannot hold all checkpoints stops the run before its first step", async () => {
  const { bavail, bsize } = await statfs(toy.folder);
  // Ten million adapters of 60 kB or more are more than disks have; where not, there is nothing to see.
  if (bavail * bsize > 5e11) return;
  const plan = await toy.plan("millions", { steps: 1e7, checkpointEvery: 1, rank: 8 });
  await expect(collect(train(plan, withPreflight))).rejects.toThrow(
    /^The run will write [\d.]+ [GT]B into the run's folder, and the disk of .* free\. That was in the preflight, at looking for room on the disk: nothing was trained\./,
  );
}, 60_000);

test("a run that is not agreed to is declined after the preflight, and leaves nothing behind", async () => {
  const plan = await toy.plan("declined", { steps: 1 });
  const asked: TrainEvent[] = [];
  const approve = (event: TrainEvent): Promise<boolean> => Promise.resolve(asked.push(event) === 0);
  const events = await collect(train(plan, { ...withPreflight, approve }));
  expect(events.at(-1)).toEqual({ type: "declined", runFolder: plan.runFolder.value });
  expect(asked.map(({ type }) => type)).toEqual(["preflight"]);
  await expect(stat(plan.runFolder.value)).rejects.toThrow(/ENOENT/);
});

/** An engine with room for latents of so many pixels only. */
async function smallEngine(mostPixels: number): Promise<Engine> {
  const engine = await createOrtEngine({ threads: 1 });
  const compile = engine.compile.bind(engine);
  engine.compile = (graph, options) => {
    const latents = graph.inputs.find(({ attrs }) => attrs.name === "noisyLatents")?.attrs.shape ?? [];
    const [, , height = 0, width = 0] = latents;
    if (height * width <= mostPixels) return compile(graph, options);
    return Promise.reject(new UserError("There is no memory for it.", { fix: "Take a smaller batch." }));
  };
  return engine;
}

test("a bucket that only one picture is in, and that does not fit, stops the run before its first step", async () => {
  // At 64 px this one is as large as it can be, and the others keep their own 40 px.
  const data = join(toy.folder, "data");
  const large = { widthPx: 64, heightPx: 64, channels: 3, data: new Uint8Array(64 * 64 * 3).fill(90) } as const;
  await writePng(join(data, "large.png"), large);
  await writeFile(join(data, "large.txt"), "a large square");
  try {
    const plan = await toy.plan("large", { resolutionPx: 64, noUpscale: true, batch: 1, heldOutFraction: 0 });
    const small = { ...withPreflight, createEngine: () => smallEngine(20 * 20) };
    const events: TrainEvent[] = [];
    const run = collect(train(plan, small), (event) => void events.push(event));
    await expect(run).rejects.toThrow(
      "There is no memory for it. That was in the preflight, at a step on the largest pictures (64 x 64 px, batch 1): nothing was trained.",
    );
    expect(events.filter(({ type }) => type === "step")).toEqual([]);
    await expect(stat(plan.runFolder.value)).rejects.toThrow(/ENOENT/);
  } finally {
    await rm(join(data, "large.png"));
    await rm(join(data, "large.txt"));
  }
}, 60_000);

test("a VAE of numbers that are none stops the run at the preview, and the message says so", async () => {
  const broken = await createToy("sdxl");
  try {
    const plan = await broken.plan("black", previews);
    // The encoder is good, so that only drawing shows it.
    const engine = async (): Promise<Engine> => {
      const made = await createOrtEngine({ threads: 1 });
      const allocate = made.allocate.bind(made);
      made.allocate = async (buffer, source) => {
        await allocate(buffer, source);
        if (buffer.name !== "vae.decoder.conv_in.weight") return;
        const count = buffer.shape.reduce((product, side) => product * side, 1);
        await made.write(buffer.name, new Float32Array(count).fill(NaN));
      };
      return made;
    };
    await expect(collect(train(plan, { ...withPreflight, createEngine: engine }))).rejects.toThrow(
      /The picture is black.* That was in the preflight, at drawing a preview: nothing was trained\./s,
    );
  } finally {
    await rm(broken.folder, { recursive: true });
  }
}, 60_000);

test.skipIf(process.platform === "win32")(
  "a disk that takes no checkpoint stops the run before its first step",
  async () => {
    const plan = await toy.plan("full", { steps: 2, checkpointEvery: 2 });
    const path = join(toy.folder, "full.json");
    await writeFile(path, JSON.stringify(plan));
    const script = fileURLToPath(new URL("../../test/train-child.ts", import.meta.url));
    // A limit on the size of files, in blocks of 512 bytes or more, which the plan and the encodings are below, and a checkpoint is above.
    const command = `trap '' XFSZ; ulimit -f 48; exec "$0" --import tsx "$1" "$2" preflight`;
    const child = promisify(execFile)("sh", ["-c", command, process.execPath, script, path]);
    const failure = (await child.then(
      () => undefined,
      (error: unknown) => error,
    )) as { readonly stdout: string; readonly stderr: string } | undefined;
    expect(failure?.stderr).toMatch(
      /Cannot write .*: the file is larger.* That was in the preflight, at writing a checkpoint: nothing was trained\./,
    );
    expect(failure?.stdout).not.toContain('"type":"step"');
  },
  60_000,
);
