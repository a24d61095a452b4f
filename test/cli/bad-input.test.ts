/** What people get wrong: each ends with one message of what is wrong, where and what to do, and leaves nothing behind. */
import { spawn } from "node:child_process";
import { chmod, cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { beforeAll, describe, expect, test } from "vitest";
import { openSafetensors, readTensor, writeSafetensors } from "../../src/formats/safetensors.ts";
import { writeToyBase, writeToyDataset } from "../toy-base.ts";
import { gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
const UNET = "unet/diffusion_pytorch_model.safetensors";

beforeAll(async () => {
  await writeToyBase(inside("base"), "sd15");
  await writeToyDataset(inside("pictures"), 2);
});

/** Everything below the folder of runs. */
function leftovers(): Promise<string[]> {
  return readdir(inside("runs"), { recursive: true }).catch(() => []);
}

/** Runs a command that must fail, and gives what it says: the message and, after "Fix: ", what to do. */
async function refusal(exitCode: 1 | 2, ...args: string[]): Promise<string> {
  const result = await gesso(args);
  expect(result.err).toHaveLength(1);
  const [text = ""] = result.err;
  expect(text).toMatch(/^[^\n]+\.\nFix: [^\n]+$/);
  expect(result.exitCode, text).toBe(exitCode);
  expect(await leftovers()).toEqual([]);
  return text.replaceAll(inside(), "").replaceAll("\\", "/");
}

const train = (dataset: string, ...more: string[]) => [
  "train",
  inside(dataset),
  "--base",
  inside("base"),
  "--out",
  inside("runs"),
  "--yes",
  ...more,
];

/** A dataset of two good pictures and what `add` puts there. */
async function spoiltDataset(name: string, add: (folder: string) => Promise<unknown>): Promise<string> {
  await cp(inside("pictures"), inside(name), { recursive: true });
  await add(inside(name));
  return name;
}

function plainPicture(widthPx: number, heightPx: number) {
  const noise = { type: "gaussian" as const, mean: 128, sigma: 40 };
  return sharp({ create: { width: widthPx, height: heightPx, channels: 3, background: "red", noise } });
}

describe("a dataset is refused", () => {
  test("when its folder is empty", async () => {
    await mkdir(inside("empty"));
    expect(await refusal(1, ...train("empty"))).toMatch(/^The folder \/empty is empty\.\nFix: Give a folder with pictures/);
  });

  test("when it holds text files alone", async () => {
    await mkdir(inside("texts"));
    await writeFile(inside("texts", "a.txt"), "a");
    expect(await refusal(1, ...train("texts"))).toMatch(/^No pictures in \/texts: it holds 1 other files \(first: a\.txt\)\./);
  });

  test("when it is not there, or is a file", async () => {
    expect(await refusal(1, ...train("nowhere"))).toMatch(/^There is no folder \/nowhere\./);
    expect(await refusal(1, ...train("pictures/square-0.png"))).toMatch(
      /^\/pictures\/square-0\.png is a file; a dataset is a folder of pictures\./,
    );
  });

  test("when a JPEG breaks off", async () => {
    const whole = await plainPicture(200, 200).jpeg().toBuffer();
    const name = await spoiltDataset("truncated", (folder) =>
      writeFile(join(folder, "broken.jpg"), whole.subarray(0, whole.length * 0.8)),
    );
    expect(await refusal(1, ...train(name))).toMatch(
      /^Cannot read the picture \/truncated\/broken\.jpg: .*\nFix: .*take it out of the folder/,
    );
  });

  test("when a picture has one pixel", async () => {
    const name = await spoiltDataset("tiny", (folder) => plainPicture(1, 1).png().toFile(join(folder, "dot.png")));
    expect(await refusal(1, ...train(name))).toMatch(
      /^\/tiny\/dot\.png is 1 x 1 px; a picture needs at least 16 px on each side\./,
    );
  });

  test("when a panorama of 20,000 px would lose most of itself", async () => {
    const name = await spoiltDataset("panorama", (folder) => plainPicture(20_000, 500).png().toFile(join(folder, "wide.png")));
    expect(await refusal(1, ...train(name))).toMatch(
      /^\/panorama\/wide\.png is 20000 x 500 px: 9\d % of it would be cut off to fit 64 x 16 px\.\nFix: Cut it into several pictures/,
    );
  });

  test("when a caption has 10,000 characters", async () => {
    const name = await spoiltDataset("long", (folder) => writeFile(join(folder, "square-1.txt"), "a long story ".repeat(770)));
    expect(await refusal(1, ...train(name))).toMatch(
      /^The caption of \/long\/square-1\.png has 10009 characters; .*\nFix: Shorten it/,
    );
  });
});

test("pictures that cannot be used are left out with --skip-broken, and this is said", async () => {
  const name = await spoiltDataset("skipped", async (folder) => {
    await plainPicture(1, 1).png().toFile(join(folder, "dot.png"));
    await plainPicture(2000, 50).png().toFile(join(folder, "wide.png"));
  });
  const args = [
    "train",
    inside(name),
    "--base",
    inside("base"),
    "--out",
    inside("skipping"),
    "--yes",
    "--skip-broken",
    "--steps",
    "1",
    "--rank",
    "1",
  ];
  const { exitCode, out } = await gesso(args);
  expect(exitCode).toBe(0);
  const text = out.join("\n");
  expect(text).toContain("dot.png is 1 x 1 px");
  expect(text).toMatch(/Note: Left out: .*wide\.png is 2000 x 50 px/);
});

describe("settings are refused", () => {
  test("when the rank is above a layer's width", async () => {
    expect(await refusal(1, ...train("pictures", "--rank", "4096"))).toMatch(
      /^Rank 4096 does not fit unet\.\S+, which is \d+ wide\.\nFix: .*from 1 to \d+\.$/,
    );
  });

  test.each([
    [["paint"], 'There is no command "paint".\nFix: The commands are inspect, plan, train, sample, lora, doctor, setup, demo.'],
    [["trian"], 'There is no command "trian".\nFix: Did you mean: gesso train?'],
    [["train"], "gesso train needs a folder of pictures, or --resume with the folder of a run."],
    [["train", "x", "--stesp", "5"], "gesso train has no option --stesp.\nFix: Did you mean --steps?"],
    [["train", "x", "--steps", "many"], '--steps needs a whole number of at least 1, got "many".'],
    [["train", "x", "--type", "styel"], '--type cannot be "styel".\nFix: Did you mean style?'],
    [
      ["train", "--resume", "runs/a", "--steps", "5"],
      "A run that goes on keeps its settings: --steps cannot be given with --resume.",
    ],
    [
      ["sample", "--prompt", "a", "--out", "a.png", "--sampler", "eular"],
      '--sampler cannot be "eular".\nFix: Did you mean euler? It can be: euler, euler_a, dpmpp_2m.',
    ],
    [["sample", "--prompt", "a"], "gesso sample needs --out with the name of a .png file."],
    [["sample", "--prompt", "a", "--out", "a.jpg"], "--out a.jpg does not end in .png."],
    [
      ["sample", "--prompt", "a", "--out", "a.png", "--lora", "x.safetensors:much"],
      '--lora x.safetensors:much: "much" is not a weight.',
    ],
    [["demo", "--example", "style-inc"], 'There is no example "style-inc"'],
  ])("%j ends with exit code 2", async (args, message) => {
    expect((await refusal(2, ...args)).slice(0, message.length)).toBe(message);
  });

  test("when a learning rate or a name cannot be used", async () => {
    expect(await refusal(2, ...train("pictures", "--learning-rate", "50"))).toMatch(
      /^The setting "learning rate" cannot be 50\./,
    );
    expect(await refusal(2, ...train("pictures", "--name", "a/b"))).toMatch(/^"a\/b" cannot be a file's name\./);
    expect(await refusal(2, ...train("pictures", "--resolution", "33"))).toMatch(/^Resolution 33 is not a multiple of \d+\./);
  });

  test.each([
    ["--held-out", "0.9", 'The setting "held out" cannot be 0.9.\nFix: Give a number from 0 to 0.5.'],
    ["--noise-offset", "-1", 'The setting "noise offset" cannot be -1.\nFix: Give a number from 0 to 1.'],
    ["--caption-dropout", "2", 'The setting "caption dropout" cannot be 2.\nFix: Give a number from 0 to 1.'],
    ["--min-snr-gamma", "-5", 'The setting "min-SNR gamma" cannot be -5.\nFix: Give a number from 0 to 1000000.'],
    ["--checkpoint-every", "0", 'The setting "checkpoint every" cannot be 0.\nFix: Give a whole number from 1 to 10000000.'],
    ["--warmup", "-1", 'The setting "warm-up" cannot be -1.\nFix: Give a whole number from 0 to 10000000.'],
    ["--schedule", "linear", '--schedule cannot be "linear".\nFix: It can be: constant, cosine.'],
    [
      "--text-encoder-2-learning-rate",
      "0.0001",
      "base has one text encoder: there is no second one to give a learning rate.\nFix: Leave --text-encoder-2-learning-rate out.",
    ],
  ])("when %s is %s", async (option, value, message) => {
    expect(await refusal(2, ...train("pictures", option, value))).toBe(message);
  });

  test("when a picture's size does not suit the base", async () => {
    const args = ["sample", "--base", inside("base"), "--prompt", "a", "--out", inside("a.png"), "--width", "33"];
    expect(await refusal(2, ...args)).toMatch(/^A picture of 33 x 32 px cannot be drawn with this base\./);
  });
});

describe("an output folder is refused", () => {
  test("when a file stands in its place", async () => {
    await writeFile(inside("in-the-way"), "");
    expect(await refusal(1, ...train("pictures", "--out", inside("in-the-way")))).toMatch(
      /^Cannot write \/in-the-way\/pictures: a part of its path is a file/,
    );
    const sample = ["sample", "--base", inside("base"), "--prompt", "a", "--out", inside("in-the-way", "a.png")];
    expect(await refusal(1, ...sample)).toMatch(/^Cannot write \/in-the-way\/a\.png: \/in-the-way is not a folder\./);
    expect(await readFile(inside("in-the-way"), "utf8")).toBe("");
  });

  // Windows has no such bit, and root may write anywhere.
  test.skipIf(process.platform === "win32" || process.getuid?.() === 0)("when it is read-only", async () => {
    await mkdir(inside("locked"));
    await chmod(inside("locked"), 0o555);
    expect(await refusal(1, ...train("pictures", "--out", inside("locked")))).toMatch(
      /^Cannot write \/locked\/pictures: permission denied\./,
    );
  });

  test("when a run lies there already", async () => {
    await mkdir(inside("taken", "pictures"), { recursive: true });
    await writeFile(inside("taken", "pictures", "plan.json"), "{}");
    expect(await refusal(1, ...train("pictures", "--out", inside("taken")))).toMatch(
      /^There is a run in \/taken\/pictures already\.\nFix: .*--resume/,
    );
    expect(await readdir(inside("taken", "pictures"))).toEqual(["plan.json"]);
  });

  // A limit on the size of files refuses writes half-way, as a full disk does. Windows has none.
  test.skipIf(process.platform === "win32")(
    "when it takes no more, and holds no half of a checkpoint then",
    { timeout: 120_000 },
    async () => {
      const root = fileURLToPath(new URL("../..", import.meta.url));
      const args = [
        "train",
        inside("pictures"),
        "--base",
        inside("base"),
        "--out",
        inside("full"),
        "--yes",
        // With one, the run would not have begun.
        "--no-preflight",
        "--rank",
        "8",
        "--steps",
        "2",
      ];
      const command = [
        'ulimit -f 20; exec "$@"',
        "bash",
        process.execPath,
        "--import",
        "tsx",
        join(root, "src/cli/main.ts"),
        ...args,
      ];
      const { exitCode, err } = await runProcess("bash", ["-c", ...command], root);
      expect(err).toMatch(/^Cannot write \S+step-000001\S*: .*\nFix: /);
      expect(exitCode).toBe(1);
      const left = await readdir(inside("full", "pictures"), { recursive: true });
      expect(left.filter((path) => /safetensors|step-|\.tmp/.test(path))).toEqual([]);
    },
  );
});

async function runProcess(
  program: string,
  args: readonly string[],
  cwd: string,
): Promise<{ exitCode: number | null; err: string }> {
  const child = spawn(program, args, { cwd, stdio: ["ignore", "ignore", "pipe"] });
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const exitCode = await new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
  return { exitCode, err };
}

describe("a base model is refused", () => {
  /** The toy base with its UNet's tensors changed. */
  async function spoiltBase(
    name: string,
    change: (tensors: Map<string, { shape: readonly number[]; data: Float32Array }>) => void,
  ): Promise<string> {
    await cp(inside("base"), inside(name), { recursive: true });
    const file = await openSafetensors(inside(name, UNET));
    const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
    for (const [key, { shape }] of file.tensors) tensors.set(key, { shape, data: await readTensor(file, key) });
    change(tensors);
    await writeSafetensors(
      inside(name, UNET),
      [...tensors].map(([key, tensor]) => ({ name: key, dtype: "F32", ...tensor }) as const),
    );
    return inside(name);
  }
  const trainOn = (base: string) => refusal(1, "train", inside("pictures"), "--base", base, "--out", inside("runs"), "--yes");

  test("when a weight is missing", async () => {
    const base = await spoiltBase("lacking", (tensors) => tensors.delete("conv_in.weight"));
    expect(await trainOn(base)).toMatch(/^\/lacking\/unet\/\S+ lacks conv_in\.weight \[16, 4, 3, 3\]\.\nFix: /);
  });

  test("when a weight has another shape", async () => {
    const base = await spoiltBase("misshapen", (tensors) =>
      tensors.set("conv_in.weight", { shape: [16, 4], data: new Float32Array(64) }),
    );
    expect(await trainOn(base)).toMatch(
      /^\/misshapen\/unet\/\S+: conv_in\.weight is \[16, 4\]; by its config\.json it must be \[16, 4, 3, 3\]\./,
    );
  });

  test("when a weight is not a number", async () => {
    const base = await spoiltBase("nan", (tensors) => tensors.get("conv_in.bias")?.data.fill(NaN));
    expect(await trainOn(base)).toMatch(/^\/nan\/unet\/\S+: conv_in\.bias holds NaN at position 0, which is no weight\./);
  });

  test("when its header lies", async () => {
    await cp(inside("base"), inside("lying"), { recursive: true });
    await writeFile(inside("lying", UNET), lyingFile());
    expect(await trainOn(inside("lying"))).toMatch(
      /^\/lying\/unet\/\S+ is not a sound safetensors file: tensor "a" would end at byte \d+, but the file has \d+/,
    );
  });

  test("when it is not there, or is a single file", async () => {
    expect(await trainOn(inside("absent"))).toMatch(/^There is no base model at \/absent\./);
    await writeFile(inside("model.ckpt"), "");
    expect(await trainOn(inside("model.ckpt"))).toMatch(/^\/model\.ckpt is a pickle/);
  });
});

/** A header of a tensor that would be longer than the file. */
function lyingFile(): Buffer {
  const header = Buffer.from(JSON.stringify({ a: { dtype: "F32", shape: [1000, 1000], data_offsets: [0, 4_000_000] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(16)]);
}

describe("an adapter file is refused", () => {
  beforeAll(() => writeFile(inside("lying.safetensors"), lyingFile()));
  const uses = [
    ["--continue-from", (file: string) => train("pictures", "--continue-from", file)],
    [
      "--lora",
      (file: string) => ["sample", "--base", inside("base"), "--prompt", "a", "--out", inside("runs", "a.png"), "--lora", file],
    ],
  ] as const;

  test.each(uses)("by %s when its header lies", async (_, args) => {
    expect(await refusal(1, ...args(inside("lying.safetensors")))).toMatch(
      /^\/lying\.safetensors is not a sound safetensors file: tensor "a" would end at byte/,
    );
  });

  test.each(uses)("by %s when its header is longer than the file", async (_, args) => {
    await writeFile(inside("endless.safetensors"), Buffer.from([255, 255, 255, 0, 0, 0, 0, 0, 123, 125]));
    expect(await refusal(1, ...args(inside("endless.safetensors")))).toMatch(
      /^\/endless\.safetensors is not a sound safetensors file: /,
    );
  });

  test.each(uses)("by %s when it is not there", async (_, args) => {
    expect(await refusal(1, ...args(inside("gone.safetensors")))).toMatch(/^There is no file \/gone\.safetensors\./);
  });

  test.each(uses)("by %s when it is of another base", async (_, args) => {
    const data = new Float32Array(64);
    const module = "lora_unet_down_blocks_9_attentions_0_proj_in";
    const tensors = [
      { name: `${module}.lora_down.weight`, dtype: "F32", shape: [4, 16], data },
      { name: `${module}.lora_up.weight`, dtype: "F32", shape: [16, 4], data },
    ] as const;
    await writeSafetensors(inside("foreign.safetensors"), tensors);
    expect(await refusal(1, ...args(inside("foreign.safetensors")))).toMatch(
      /^\/foreign\.safetensors: 2 of 2 keys are no layer of this base model/,
    );
  });
});

test("going on needs the folder of a run", async () => {
  expect(await refusal(1, "train", "--resume", inside("pictures"))).toMatch(
    /^There is no run in \/pictures: .*\nFix: Give the folder of a run/,
  );
});
