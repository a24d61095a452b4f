/** Makes the datasets in `examples/` again: styles and a character from emoji sets that mini never saw. */
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { UserError } from "../../src/errors.ts";
import { renderIcon } from "./render.ts";
import { emojiSets, loadSet, type LoadedSet } from "./sets.ts";
import { subjects, toSlug } from "./subjects.ts";

const help = `Makes the example datasets.

Usage: npx tsx scripts/mini/examples.ts [--out FOLDER]
  --out FOLDER   where the examples go (default examples); folders of the same names are replaced

First: npm --prefix scripts/mini ci`;

const sizePx = 256;

type Color = readonly [number, number, number];

interface Example {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  readonly type: "style" | "character";
  readonly trigger: string;
  readonly set: string;
  readonly licence: string;
  /** Caption -> the icon's own name, or the subject's name where that finds it. */
  readonly pictures: Readonly<Record<string, string>>;
  /** Prompts for before and after, of which no picture is in the example. */
  readonly prompts: readonly string[];
  /** Draws a black and white set in two other colours. */
  readonly recolor?: { readonly ink: Color; readonly paper: Color };
}

const styleSubjects = [
  ...["thinking face", "crying face", "ghost", "clown face", "princess", "dog face", "rabbit", "turtle", "penguin", "octopus"],
  ...[
    "horse face",
    "snail",
    "lion",
    "tulip",
    "cactus",
    "mushroom",
    "strawberry",
    "pizza",
    "doughnut",
    "birthday cake",
    "lemon",
  ],
  ...["castle", "bus", "sailboat", "tractor", "bicycle", "umbrella", "snowflake", "crescent moon", "guitar", "crown", "anchor"],
  ...["wrench", "balloon", "telephone", "high-heeled shoe"],
];
const stylePictures = Object.fromEntries(styleSubjects.map((name) => [name, name]));
const stylePrompts = [
  ...["red apple", "cat face", "rocket", "sunflower"],
  ...["hamburger", "fire engine", "palm tree", "smiling face with sunglasses"],
];

const examples: readonly Example[] = [
  {
    name: "style-blueprint",
    title: "Blueprint",
    about: "White line drawings on blue. The set's drawings are black on nothing; here they are recoloured.",
    type: "style",
    trigger: "blueprint",
    set: "fluent-emoji-high-contrast",
    licence: "MIT-microsoft.txt",
    pictures: stylePictures,
    prompts: stylePrompts,
    recolor: { ink: [255, 255, 255], paper: [30, 78, 160] },
  },
  {
    name: "style-ink",
    title: "Ink",
    about: "Bold black drawings with round corners on white.",
    type: "style",
    trigger: "inkblot",
    set: "fluent-emoji-high-contrast",
    licence: "MIT-microsoft.txt",
    pictures: stylePictures,
    prompts: stylePrompts,
  },
  {
    name: "style-sticker",
    title: "Sticker",
    about: "Bright flat colours in a thin dark outline, most of them over a soft shadow on the ground.",
    type: "style",
    trigger: "stickerbook",
    set: "streamline-emojis",
    licence: "CC-BY-4.0.txt",
    pictures: stylePictures,
    prompts: stylePrompts,
  },
  {
    name: "character-fox",
    title: "Rufus the fox",
    about:
      "One orange fox with nine expressions. The captions say what changes, not what he is: that is what the trigger word learns.",
    type: "character",
    trigger: "rufus",
    set: "fxemoji",
    licence: "CC-BY-4.0.txt",
    pictures: {
      "sad face with closed eyes": "foxcrying",
      "grinning face with closed eyes": "foxgrin",
      "smiling face with heart-eyes": "foxheart",
      "kissing face": "foxkissing",
      "pouting face from the side": "foxpouting",
      "smiling face with open mouth": "foxsmiling",
      "face with tears of joy": "foxtearofjoy",
      "weary face": "foxweary",
      "smirking face": "foxwry",
    },
    prompts: [
      ...["winking face", "smiling face with sunglasses", "nerd face", "cowboy hat face"],
      ...["smiling face with halo", "face with medical mask", "enraged face", "zipper-mouth face"],
    ],
  },
];

/** Black becomes ink, white becomes paper, greys lie between. */
function recolor(rgb: Buffer, { ink, paper }: { ink: Color; paper: Color }): Buffer {
  const mixed = rgb.map((value, i) => {
    const [from, to] = [ink[i % 3] ?? 0, paper[i % 3] ?? 0];
    return Math.round(from + ((to - from) * value) / 255);
  });
  return Buffer.from(mixed);
}

function findIcon(set: LoadedSet, name: string): string {
  const subject = subjects.find((candidate) => candidate.name === name);
  return (subject && set.findIcon(subject)) ?? name;
}

function describe(example: Example, set: LoadedSet): string {
  const { info, version, credit } = set;
  return `# ${example.title}

${example.about}

- ${Object.keys(example.pictures).length} pictures of ${sizePx} x ${sizePx} px, each with its caption in a \`.txt\` of the same name.
- Type: ${example.type}. Trigger word: \`${example.trigger}\` (not in the captions: training puts it there).
- \`demo.json\`: prompts for before and after, of which no picture is here; the trigger word goes before them.
- \`mini\`, the bundled base model, never saw the set that these pictures are from.

\`\`\`
npx gesso train examples/${example.name} --type ${example.type} --trigger ${example.trigger}
\`\`\`

## Source and licence

Drawings: ${info.name} by ${info.author.name}, ${info.author.url}, from the npm package \`@iconify-json/${set.id}\` ${version}.
Licence of the drawings: ${example.licence === "CC-BY-4.0.txt" ? "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)" : info.license.title}; its text is in \`LICENSE\`.
${credit === undefined ? "" : credit + "\n"}Changes: drawn as PNG, cropped to what is drawn, on ${example.recolor ? "blue, in white" : "white"}; captions added.
Made again by \`npx tsx scripts/mini/examples.ts\`.
`;
}

async function writeExample(example: Example, out: string): Promise<void> {
  const entry = emojiSets.find(({ id, use }) => id === example.set && use === "held-out");
  if (!entry) throw new Error(`writeExample: ${example.set} is not a set that mini never sees`);
  const set = loadSet(entry);
  const folder = join(out, example.name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [caption, icon] of Object.entries(example.pictures)) {
    const rgb = await renderIcon(set, findIcon(set, icon), sizePx);
    const pixels = example.recolor ? recolor(rgb, example.recolor) : rgb;
    const file = join(folder, toSlug(caption));
    await sharp(pixels, { raw: { width: sizePx, height: sizePx, channels: 3 } })
      .png({ compressionLevel: 9 })
      .toFile(`${file}.png`);
    await writeFile(`${file}.txt`, `${caption}\n`);
  }
  const { trigger, type, prompts } = example;
  await writeFile(join(folder, "demo.json"), JSON.stringify({ trigger, type, prompts }, undefined, 2) + "\n");
  await writeFile(join(folder, "README.md"), describe(example, set));
  await copyFile(fileURLToPath(new URL(`licences/${example.licence}`, import.meta.url)), join(folder, "LICENSE"));
  console.log(`${folder}: ${(await readdir(folder)).filter((name) => name.endsWith(".png")).length} pictures`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { out: { type: "string", default: "examples" }, help: { type: "boolean", default: false } },
  });
  if (values.help) return console.log(help);
  if (!existsSync(new URL("node_modules/unicode-emoji-json", import.meta.url))) {
    throw new UserError("The emoji packages are not installed.", { fix: "npm --prefix scripts/mini ci" });
  }
  for (const example of examples) await writeExample(example, resolve(values.out));
}

await main();
