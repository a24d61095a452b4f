/** The arguments of gesso sample that have a grammar of their own, and what a grid draws. */
import { describe, expect, test } from "vitest";
import { describeGrid, layOutGrid, parseGridAxis, parseLora } from "./grid.ts";

test.each([
  ["style.safetensors", "style.safetensors", 1],
  ["style.safetensors:0.8", "style.safetensors", 0.8],
  ["runs/a/style.safetensors:-1", "runs/a/style.safetensors", -1],
  ["C:\\loras\\style.safetensors", "C:\\loras\\style.safetensors", 1],
  ["C:\\loras\\style.safetensors:0.8", "C:\\loras\\style.safetensors", 0.8],
  ["C:/loras/style.safetensors:.5", "C:/loras/style.safetensors", 0.5],
  ["C:style.safetensors", "C:style.safetensors", 1],
  ["odd:name", "odd:name", 1],
])("%s is the file %s at weight %d", (text, path, weight) => {
  expect(parseLora(text)).toEqual({ path, weight });
});

test.each(["style.safetensors:strong", "style.safetensors:", "C:\\style.safetensors:0,8"])("%s is refused", (text) => {
  expect(() => parseLora(text)).toThrow("is not a weight");
});

const common = {
  prompt: "a fox",
  negativePrompt: "",
  seed: 42,
  steps: 20,
  guidance: 5,
  sampler: "dpmpp_2m",
  widthPx: 128,
  heightPx: 128,
  loras: [
    { path: "loras/ink.safetensors", weight: 1 },
    { path: "C:\\loras\\fox.safetensors", weight: 0.5 },
  ],
};
const grid = (...axes: readonly string[]) => layOutGrid(axes.map(parseGridAxis), common);

describe("a grid", () => {
  test("has the first axis for columns and the second for rows, and its pictures row by row", () => {
    const { columns, rows, requests } = grid("cfg=3,7.5", "seed= 1, 2 ,3");
    expect(columns).toEqual(["cfg 3", "cfg 7.5"]);
    expect(rows).toEqual(["seed 1", "seed 2", "seed 3"]);
    const settings = requests.map(({ guidance, seed }) => [guidance, seed]);
    expect(settings).toEqual([1, 2, 3].flatMap((seed) => [3, 7.5].map((guidance) => [guidance, seed])));
  });

  test("of one axis is a row without a label", () => {
    const { columns, rows, requests } = grid("sampler=euler,dpmpp_2m");
    expect([columns, rows]).toEqual([["euler", "dpmpp_2m"], [""]]);
    expect(requests.map(({ sampler }) => sampler)).toEqual(["euler", "dpmpp_2m"]);
  });

  test("takes prompts apart at bars, not at commas", () => {
    expect(grid("prompt=ink, a fox|a cat = a pet", "steps=5").requests.map(({ prompt, steps }) => [prompt, steps])).toEqual([
      ["ink, a fox", 5],
      ["a cat = a pet", 5],
    ]);
  });

  test("moves the weight of all adapters, or of the one that is named by its file", () => {
    const weights = (axis: string) => grid(axis).requests.map(({ loras }) => loras.map(({ weight }) => weight));
    expect(weights("weight=0,-1")).toEqual([
      [0, 0],
      [-1, -1],
    ]);
    for (const name of ["ink", "ink.safetensors", "loras/ink.safetensors"])
      expect(weights(`weight:${name}=2`)).toEqual([[2, 0.5]]);
    expect(weights("weight:fox=2")).toEqual([[1, 2]]);
    expect(grid("weight:ink=2").columns).toEqual(["ink 2"]);
  });

  test("adds the file of its own axis to the others before weights are set, whichever axis comes first", () => {
    const expected = [
      [0, 0],
      [0, 0, 0],
    ];
    const weightsOf = ({ requests }: ReturnType<typeof grid>) => requests.map(({ loras }) => loras.map(({ weight }) => weight));
    expect(weightsOf(grid("lora=none,b.safetensors:0.7", "weight=0"))).toEqual(expected);
    expect(weightsOf(grid("weight=0", "lora=none,b.safetensors:0.7"))).toEqual(expected);
    expect(grid("lora=none,b.safetensors:0.7,c.safetensors").columns).toEqual(["no LoRA", "b 0.7", "c"]);
  });

  test("says in its note what no axis moves", () => {
    const axes = ["weight:ink=0,1", "seed=1,2"].map(parseGridAxis);
    expect(describeGrid(axes, common, "mini")).toEqual({
      title: "a fox",
      note: "base mini, ink + fox at 0.5, 20 steps, dpmpp_2m, cfg 5",
    });
    expect(describeGrid([parseGridAxis("prompt=a|b")], { ...common, loras: [] }, "mini").title).toBeUndefined();
  });

  test.each([
    ["seeds=1", "is no axis with its values", "Did you mean seed=...?"],
    ["1,2,3", "is no axis with its values", "Axes: weight, seed"],
    ["toString=1", "is no axis with its values", "Axes: "],
    ["seed:ink=1", "is no axis with its values", "Axes: "],
    ["seed=", "has no values", "--grid seed=10,20"],
    ["seed=1,two", '"two" is not a whole number of at least 0', "--grid seed=10,20"],
    ["steps=0", '"0" is not a whole number of at least 1', "--grid steps=10,20"],
    ["cfg=Infinity", '"Infinity" is not a number', "--grid cfg=3,5,7"],
    ["weight=0,half", '"half" is not a number', "--grid weight=0,0.5,1"],
    ["sampler=eular", 'sampler cannot be "eular"', "Did you mean euler?"],
    ["lora=a.safetensors:x", '"x" is not a weight', "a.safetensors:0.8"],
    ["weight:inc=1", "no --lora is called inc", "Did you mean weight:ink?"],
  ])("of %s is refused", (axis, message, fix) => {
    expect(() => grid(axis)).toThrow(
      expect.objectContaining({ message: expect.stringContaining(message) as string, exitCode: 2 }),
    );
    expect(() => grid(axis)).toThrow(expect.objectContaining({ fix: expect.stringContaining(fix) as string }));
  });

  test("of three axes, of one twice, or of weights without an adapter is refused", () => {
    expect(() => grid("seed=1", "cfg=1", "steps=1")).toThrow("steps would be a third axis");
    expect(() => grid("seed=1", "seed=2")).toThrow("both seed");
    expect(() => layOutGrid([parseGridAxis("weight=1")], { ...common, loras: [] })).toThrow("needs an adapter");
  });
});
