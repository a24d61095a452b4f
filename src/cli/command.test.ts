/** Command lines to options, help and messages for wrong use. */
import { expect, test } from "vitest";
import { defineCommand, type Terminal } from "./command.ts";

const seen: unknown[] = [];
const command = defineCommand({
  name: "paint",
  summary: "Paint a picture.",
  positionals: [{ name: "canvas", about: "A file.", required: true }],
  options: {
    color: { kind: "text", value: "NAME", about: "What to paint with.", repeated: true },
    coats: {
      kind: "integer",
      value: "N",
      about: "How many coats are put on, one after the other, each of them after the one before has dried.",
      min: 1,
    },
    width: { kind: "number", about: "Of the brush." },
    finish: { kind: "text", value: "KIND", about: "Last coat.", default: "matt", choices: ["matt", "gloss"] },
    json: { kind: "switch", about: "Print JSON." },
  },
  headings: { color: "Paint", finish: "At the end" },
  examples: ["gesso paint wall.png"],
  run: (input) => {
    seen.push(input);
    return Promise.resolve(undefined);
  },
});

function terminalInto(lines: string[], columns = 80): Terminal {
  const out = (text: string) => void lines.push(text);
  return { out, err: out, status: () => undefined, isInteractive: false, columns, signal: new AbortController().signal };
}
const run = (...args: string[]) => command.execute(args, terminalInto([]));

test("options come with their types, repeated ones as a list, and what follows -- is no option", async () => {
  await run("--color", "red", "--coats", "2", "--color=blue", "--width", "-0.5", "--json", "--", "--odd.png");
  expect(seen.at(-1)).toEqual({
    positionals: ["--odd.png"],
    options: { color: ["red", "blue"], coats: 2, width: -0.5, json: true },
  });
});

test.each([
  [["a", "--colr", "red"], "gesso paint has no option --colr.", "Did you mean --color?"],
  [["a", "-x"], "gesso paint has no option -x.", "gesso paint --help lists what it takes."],
  [["a", "--coats", "1.5"], '--coats needs a whole number of at least 1, got "1.5".', undefined],
  [["a", "--coats", "0"], '--coats needs a whole number of at least 1, got "0".', undefined],
  [["a", "--width", "wide"], '--width needs a number, got "wide".', undefined],
  [["a", "--finish", "glos"], '--finish cannot be "glos".', "Did you mean gloss? It can be: matt, gloss."],
  [["a", "--color"], "--color needs a value: NAME.", undefined],
  [["a", "--color", "--json"], "--color needs a value, but --json follows.", "Give the value, or write --color=VALUE."],
  [["a", "--json=yes"], '--json takes no value, got "yes".', undefined],
  [[], "gesso paint needs <canvas>: A file.", undefined],
  [["a", "b"], 'gesso paint takes no further argument, got "b".', undefined],
])("%j is refused with exit code 2", async (args, message, fix) => {
  await expect(run(...args)).rejects.toMatchObject({ message, exitCode: 2, ...(fix === undefined ? {} : { fix }) });
});

test("help fits the terminal", async () => {
  const lines: string[] = [];
  await command.execute(["--help"], terminalInto(lines, 60));
  expect(lines.join("\n")).toMatchInlineSnapshot(`
    "Paint a picture.

    Usage: gesso paint <canvas> [options]

      <canvas>        A file.

    Paint
      --color NAME    What to paint with. May be repeated.
      --coats N       How many coats are put on, one after the
                      other, each of them after the one before
                      has dried.
      --width NUMBER  Of the brush.

    At the end
      --finish KIND   Last coat: matt, gloss (default: matt).
      --json          Print JSON.
      --help          Show this.

    Example:
      gesso paint wall.png"
  `);
  expect(
    Math.max(
      ...lines
        .join("\n")
        .split("\n")
        .map(({ length }) => length),
    ),
  ).toBeLessThanOrEqual(60);
});
