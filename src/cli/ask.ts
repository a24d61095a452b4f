/** What gesso train asks a person who left out what it should know: the folder, what to teach, and the trigger word. */
import { statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { type LoraType, loraTypes } from "../index.ts";
import type { Terminal } from "./command.ts";
import { wrapText } from "./format.ts";
import type { TrainOptions } from "./train-options.ts";

export interface Asked {
  readonly dataset: string | undefined;
  readonly options: TrainOptions;
  /** The person ended a question without an answer (Ctrl-C, Ctrl-D). */
  readonly isStopped: boolean;
}

type Ask = NonNullable<Terminal["ask"]>;

const whatTypes: Readonly<Record<LoraType, string>> = {
  character: "one person, figure or animal, whatever surrounds it",
  style: "how things are painted, whatever they are",
  concept: "one object, garment, pose or idea",
};

/** Folder names that say nothing of what is in them. */
const plainNames =
  /^(pictures?|pics?|images?|imgs?|photos?|data|dataset|train(ing)?|input|new|folder|download(s)?|tmp|temp)\d*$/;
const plainTriggers: Readonly<Record<LoraType, string>> = { character: "mychar", style: "mystyle", concept: "mything" };

/** Asks nothing where nobody can answer, with --json and with --yes: what is missing then has its default, as the help says. */
export async function askForMissing(dataset: string | undefined, options: TrainOptions, terminal: Terminal): Promise<Asked> {
  const { ask } = terminal;
  const isComplete = dataset !== undefined && options.type !== undefined && options.trigger !== undefined;
  if (!ask || isComplete || options.json === true || options.yes === true) return { dataset, options, isStopped: false };
  const stopped: Asked = { dataset, options, isStopped: true };
  const folder = dataset ?? (await askFolder(ask, terminal));
  if (folder === undefined) return stopped;
  const type = options.type ?? (await askType(ask, terminal));
  if (type === undefined) return stopped;
  const trigger = options.trigger ?? (await askTrigger(ask, terminal, proposeTrigger(folder, type as LoraType)));
  if (trigger === undefined) return stopped;
  return { dataset: folder, options: { ...options, type, ...(trigger === "" ? {} : { trigger }) }, isStopped: false };
}

async function askFolder(ask: Ask, terminal: Terminal): Promise<string | undefined> {
  const what = "Where are the pictures? A folder, each picture with a .txt file beside it that says what is in it.";
  terminal.out(wrapText(what, terminal.columns));
  for (;;) {
    const answer = await ask("Folder: ");
    if (answer === undefined) return undefined;
    // Terminals put quotes around what is dropped on them.
    const folder = answer.trim().replace(/^(['"])(.*)\1$/, "$2");
    if (folder !== "" && statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return folder;
    terminal.out(folder === "" ? "A folder is needed; Ctrl-C ends this." : `There is no folder ${folder}.`);
  }
}

async function askType(ask: Ask, terminal: Terminal): Promise<LoraType | undefined> {
  terminal.out("What is it to learn?");
  loraTypes.forEach((type, i) => terminal.out(`  ${i + 1}  ${type.padEnd(9)}  ${whatTypes[type]}`));
  for (;;) {
    const answer = await ask("1, 2 or 3 [3]: ");
    if (answer === undefined) return undefined;
    const word = answer.trim().toLowerCase();
    if (word === "") return "concept";
    const found = loraTypes.find((type, i) => word === String(i + 1) || (word.length > 1 && type.startsWith(word)));
    if (found) return found;
    terminal.out(`It can be: ${loraTypes.join(", ")}.`);
  }
}

/** "" for none. */
async function askTrigger(ask: Ask, terminal: Terminal, proposal: string): Promise<string | undefined> {
  const what =
    "Which word is to call it up? One that means nothing else; it is put in front of captions that lack it. A dash (-) is none.";
  terminal.out(wrapText(what, terminal.columns));
  const answer = await ask(`Trigger word [${proposal}]: `);
  if (answer === undefined) return undefined;
  const word = answer.trim();
  if (word === "-") return "";
  return word === "" ? proposal : word;
}

/** The folder's name as a word, where it says something. */
export function proposeTrigger(folder: string, type: LoraType): string {
  const word = basename(resolve(folder))
    .toLowerCase()
    // "10_sks" is a folder of Kohya's: ten repeats of sks.
    .replace(/^\d+_/, "")
    .replace(/[^\p{Letter}\p{Number}]+/gu, "");
  return word.length < 3 || plainNames.test(word) ? plainTriggers[type] : word;
}
