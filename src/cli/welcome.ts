/** What somebody sees who types `gesso` and nothing else: what this is, what it takes, and the one command to try. */
import { wrapText } from "./format.ts";

/** Five lines that fit a terminal of 80 columns. */
const whatItIs: readonly string[] = [
  "An image model already knows how to paint. A LoRA is a small file that teaches",
  "it one more thing: one character, one style or one object. It is made from a",
  "handful of pictures; the model itself stays as it is. You load the file beside",
  "the model in ComfyUI, Forge, A1111, Invoke or diffusers, and call up what it",
  "learnt by a word in the prompt.",
];

const needs: readonly string[] = [
  "15 to 40 pictures in a folder, each with a .txt file beside it that says what is in it",
  "a base model: the small one that comes with Gesso, or your own SD 1.5 or SDXL file",
  "for SDXL a graphics card with 8 GB or more; the small one trains on any processor",
];

/** Fits a terminal of so many columns. */
export function welcome(columns: number): string {
  const width = Math.min(Math.max(columns, 60), 110);
  return [
    "Gesso trains LoRAs for image models, and never wastes a run.",
    "",
    ...whatItIs,
    "",
    "What you need:",
    ...needs.map((need) => `  - ${wrapText(need, width, 4)}`),
    "",
    "Try it now; it takes minutes, needs no graphics card, and downloads nothing:",
    "",
    "  npx gesso demo",
    "",
    "Then:",
    "",
    "  npx gesso train ./pictures  train on your own; it asks for what it needs to know",
    "  npx gesso doctor            what this machine can do, and what is in the way",
    "  npx gesso --help            all commands",
  ].join("\n");
}
