/** Writes docs/inspect.md from the table of checks, so that no threshold is told twice. Run with --help for more. */
import { readFileSync, writeFileSync } from "node:fs";
import { type Check, describeThreshold } from "../src/dataset/checks/check.ts";
import { checks } from "../src/dataset/checks/table.ts";
import { setSizes, thresholds } from "../src/dataset/thresholds.ts";

const path = "docs/inspect.md";

const intro = `# gesso inspect

Says what in a dataset would make training fail, why, and how to mend it, before a GPU is paid for. Your files are only read.

\`\`\`
gesso inspect ./photos --base sdxl --type style --trigger inkwash
gesso inspect ./photos --base pony --type character --trigger sks --html report.html
gesso inspect ./photos --trigger sks --draw
gesso inspect ./photos --trigger sks --fix ./photos-mended
\`\`\`

- \`--base\` is mini, a base model as \`gesso train\` takes it, or a family that you train elsewhere: sd15, sdxl, pony, illustrious,
  noobai, flux. It decides the size, the habit of captions and the tokenizer; Flux's T5 tokens are not counted.
- \`--html FILE\` writes one page with thumbnails, copies side by side, buckets and tags; it asks for nothing from elsewhere.
- \`--json\` prints the whole report; \`--strict\` ends with exit code 1 when there are errors, for scripts.
- \`--fix DIR\` carries out the safe mends in a copy: exact copies left out (the one with the longest caption stays), bars on both sides cut
  off (saved as PNG), the trigger word put in front or spelt right. It says what it did, and never touches your files.
- Pictures are decoded once; measurements are kept in Gesso's cache folder by content, so a second inspection takes seconds, also where
  the pictures lie in another folder by then. Ctrl-C ends it when the pictures under way are done, and what was measured is kept.
- While it runs, thumbnails and corners lie in a temporary file of 14 kB a picture; where that cannot be written, they stay in memory.

Severities: an **error** should be mended before training, a **warning** will show in the result, a **note** is worth knowing.
Thresholds marked *heuristic* are Gesso's own choice: nobody has published a value. What the checks find of faults planted in
pictures they were not set on is printed by \`npm run bench -- inspect-proof\`, and what they cost by \`npm run bench -- inspect\`.

## Faces

In sets for a character, faces are looked for with BlazeFace, from the npm package \`@mediapipe/face_detection\` (Apache-2.0, an optional
dependency; where it is missing the report says that faces were not looked for). It knows people as photographs and paintings show them;
faces of drawn characters, masks, animals, and faces turned away are often not found, so faces are only judged where at least half of the
pictures show one. The height of a face is that of its box, from the brow to the chin. Where none is clear at first sight the picture is
looked at again from afar and from nearer: of faces of 8 % of the picture's height 97 % are found, of 6 % 80 %, of 4 % 43 %, on photographs
that they were put on; one is seen on 6 of 253 photographs without faces. All measured by \`npm run bench -- inspect-faces\`.

## What the base draws for the trigger word

\`--draw\` asks the base what it predicts for the word by itself, and what for 15 invented words of about as many tokens, at the same noisy
latents and three noise levels. What lies as far from the mean of the invented words as they do themselves means nothing to the base, as a
trigger word should; a word that lies farther by more than 3.5 of their standard deviations (of logarithms, as Student's t) is one that the
base knows, and three pictures of it and of an empty prompt are drawn for the page. Of others, \`gesso sample\` draws some.

With mini it is right for 48 of 48 words that neither measure nor limit was worked out on, half of them from its training captions, half
made up: known ones are 5.1 to 9.3 deviations off, made-up ones at most 1.7. To mini a misspelt word, of which there are six, is as made up
as any other. No other base was measured: there the limit is one of chance, that an invented word passes it less than once in 500 times, and
how far from invented words the known ones lie is not known.

It takes 48 runs of the UNet on two prompts with mini, which are seconds, and 60 more for the pictures of a known word; with
larger bases 24, and 60 for pictures. With SDXL at 1024 px 24 runs are 325 TFLOP: 54 minutes or more on a processor that does 100 GFLOP/s.
All of these figures: \`npm run bench -- inspect-trigger\`.

## How well the checks find what they look for

\`npm run bench -- inspect-proof\` plants faults in pictures and words in captions that come with packages, and prints the precision and recall
of each check. The pictures are in five parts. Thresholds were set on "tune"; "test" was looked at while the checks were made; "blind" and
"fresh" were measured once, and looked at and learnt from after. Only "apart", measured after the last change, was not looked at.
The same holds for words: those of WordNet and "other words" were learnt from, "words apart" were only counted. All figures are in
docs/performance.md, under inspecting datasets. Below 0.95 on what was not looked at: \`exposure.dark\` and
\`frame.border\` in precision (.947, .92), \`copies.altered\` in recall (.93), \`copies.mirrored\` in both (.944), \`caption.contradiction\` in
recall (.94: rare colours) and \`caption.ground\` in precision for tags (.90: places by names that the lists lack). Copies and cuts of a texture
without details of its own, such as a pavement, a sky or a nearly black picture, may be overlooked.

## What is not looked for

Watermarks in the middle of pictures or repeated over all of them; marks that stand at a fixed number of pixels on pictures of different
sizes, or beside a shape that the pictures share and that goes on into them. Clusters and variety go by layout and colour, not by what a picture
shows: the npm packages that carry a general network for that are larger than 40 MB.
`;

const headings: Readonly<Record<string, string>> = {
  resolution: "Size and shape",
  sharpness: "What the pixels are like",
  copies: "Copies",
  faces: "Faces of a character",
  caption: "Captions",
  tags: "Tags and trigger word",
  set: "The set as a whole",
};

function describeCheck(check: Check): readonly string[] {
  const held = check.thresholds.map((name) => {
    const threshold = thresholds[name];
    return `  - \`${name}\` ${describeThreshold(threshold)}: ${threshold.about} (${threshold.source})`;
  });
  return [
    `**\`${check.id}\`**: ${check.title}. ${check.why}`,
    ``,
    `- Mend: ${check.mend}${check.fix === undefined ? "" : ` \`--fix\` ${check.fix}.`}`,
    ...(held.length > 0 ? ["- Held against:", ...held] : []),
    ``,
  ];
}

function sizeTable(): readonly string[] {
  const cell = ([fewest, good, many]: readonly [number, number, number]): string => `${fewest} / ${good} to ${many}`;
  return [
    "Pictures that `set.size` goes by, at least / good: the middle of what trainers and their users recommend (heuristic).",
    "",
    "| base | character | style | concept |",
    "| --- | --- | --- | --- |",
    ...Object.entries(setSizes).map(
      ([base, { character, style, concept }]) => `| ${base} | ${cell(character)} | ${cell(style)} | ${cell(concept)} |`,
    ),
    "",
  ];
}

/** The page as it should be. */
export function renderInspectDocs(): string {
  const lines = checks.flatMap((check) => {
    const group = check.id.split(".")[0] ?? "";
    const isFirst = checks.find(({ id }) => id.startsWith(`${group}.`)) === check;
    const heading = isFirst ? headings[group] : undefined;
    return [...(heading === undefined ? [] : [`## ${heading}`, ""]), ...describeCheck(check)];
  });
  return `${[intro, ...lines, ...sizeTable()].join("\n").trimEnd()}\n`;
}

if (process.argv[1]?.endsWith("inspect-docs.ts")) {
  if (process.argv.includes("--help")) {
    console.log(
      `Usage: npx tsx scripts/inspect-docs.ts [--check]\nWrites ${path} from the table of checks; --check only says whether it is up to date.`,
    );
  } else if (process.argv.includes("--check")) {
    if (readFileSync(path, "utf8") !== renderInspectDocs()) {
      console.error(`${path} is out of date: npx tsx scripts/inspect-docs.ts`);
      process.exitCode = 1;
    }
  } else writeFileSync(path, renderInspectDocs());
}
