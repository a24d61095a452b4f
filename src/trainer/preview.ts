/** Preview sheets: the same prompts and seeds with and without the adapter, with and without the trigger word. */
import { join } from "node:path";
import { insertTrigger, hasTrigger } from "../dataset/captions.ts";
import { type Pixels, writePng } from "../formats/images.ts";
import { renderSheet } from "../formats/sheet.ts";
import type { AdapterSpec } from "../lora/inject.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { type RunPaths, stepName } from "./run-folder.ts";
import type { Painter } from "./sample.ts";

export interface Previewer {
  /** Draws the first prompt with the adapter in a few sampler steps, to see that it can be drawn; `onStep` is called after each. */
  tryOut(samplerSteps: number, onStep: () => void, signal: AbortSignal | undefined): Promise<Pixels>;
  /** Pictures on a sheet that the adapter changes, and those of the base, which are drawn once. */
  readonly counts: { readonly withAdapter: number; readonly base: number };
  /** Draws the sheet of a step: yields how many of how many pictures are done, and returns its path. */
  draw(step: number, signal: AbortSignal | undefined): AsyncGenerator<readonly [done: number, total: number], string>;
}

/** The prompts of previews as they are encoded: without the trigger word, then with it. */
export function previewTexts({
  previewPrompts,
  trigger,
}: Pick<TrainSettings, "previewPrompts" | "trigger">): readonly string[] {
  const plain = previewPrompts.map((prompt) => removeTrigger(prompt, trigger));
  return [...plain, ...plain.map((prompt) => insertTrigger(prompt, trigger ?? "").caption)];
}

interface PreviewerOptions {
  readonly painter: Painter;
  readonly paths: RunPaths;
  readonly settings: TrainSettings;
  readonly adapters: readonly AdapterSpec[];
}

export function createPreviewer({ painter, paths, settings, adapters }: PreviewerOptions): Previewer {
  const count = settings.previewPrompts.length;
  const texts = previewTexts(settings);
  const columns = previewColumns(settings);
  /** The base model's pictures do not change during the run. */
  const baseTiles = new Map<number, Pixels>();
  return {
    counts: { withAdapter: (count * columns.length) / 2, base: (count * columns.length) / 2 },
    tryOut: (samplerSteps, onStep, signal) =>
      painter.draw({ ...previewRequest(settings, texts[0] ?? "", 0, adapters), steps: samplerSteps }, signal, onStep),
    async *draw(step, signal) {
      const total = count * columns.length;
      let done = 0;
      const tiles: Pixels[][] = [];
      for (let row = 0; row < count; row++) {
        const line: Pixels[] = [];
        for (const { withAdapter, withTrigger } of columns) {
          const text = withTrigger ? row + count : row;
          const request = previewRequest(settings, texts[text] ?? "", row, withAdapter ? adapters : []);
          const tile = (withAdapter ? undefined : baseTiles.get(text)) ?? (await painter.draw(request, signal));
          if (!withAdapter) baseTiles.set(text, tile);
          line.push(tile);
          yield [++done, total];
        }
        tiles.push(line);
      }
      const path = join(paths.samples, `${stepName(step)}.png`);
      const labels = columns.map(({ label }) => label);
      await writePng(path, await renderSheet({ ...describeSheet(settings, step), columns: labels, tiles }));
      return path;
    },
  };
}

interface Column {
  readonly label: string;
  readonly withAdapter: boolean;
  readonly withTrigger: boolean;
}

/** Base and adapter side by side, first without the trigger word. */
function previewColumns({ trigger }: TrainSettings): readonly Column[] {
  return (trigger === null ? [false] : [false, true]).flatMap((withTrigger) => {
    const suffix = trigger === null ? "" : `, ${withTrigger ? "with" : "without"} "${trigger}"`;
    return [
      { label: `base${suffix}`, withAdapter: false, withTrigger },
      { label: `with adapter${suffix}`, withAdapter: true, withTrigger },
    ];
  });
}

function previewRequest(
  settings: TrainSettings,
  prompt: string,
  row: number,
  adapters: readonly AdapterSpec[],
): Parameters<Painter["draw"]>[0] {
  return {
    prompt,
    negativePrompt: "",
    seed: settings.seed + row,
    steps: settings.previewSteps,
    guidance: settings.previewGuidance,
    // Karras' levels would spend most steps where a schedule without end has nothing to see.
    sampler: settings.zeroTerminalSnr ? "euler" : "dpmpp_2m",
    widthPx: settings.previewSizePx,
    heightPx: settings.previewSizePx,
    adapters,
  };
}

function describeSheet(settings: TrainSettings, step: number) {
  const { name, seed, trigger, previewPrompts, previewSteps, previewGuidance, zeroTerminalSnr } = settings;
  const sampler = zeroTerminalSnr ? "Euler" : "DPM++ 2M Karras";
  return {
    title: `${name}, step ${step}`,
    rows: previewPrompts.map((prompt) => removeTrigger(prompt, trigger)),
    note: `Step ${step}. ${previewSteps} steps of ${sampler}, guidance ${previewGuidance}, seeds from ${seed}.`,
  };
}

/** A prompt without the trigger word, so that the sheet can show both. */
export function removeTrigger(prompt: string, trigger: string | null): string {
  if (trigger === null || !hasTrigger(prompt, trigger)) return prompt;
  const at = prompt.toLowerCase().indexOf(trigger.toLowerCase());
  if (at < 0) return prompt;
  const rest = `${prompt.slice(0, at)} ${prompt.slice(at + trigger.length)}`;
  return rest
    .replace(/\s+,/g, ",")
    .replace(/^[\s,]+|[\s,]+$/g, "")
    .replace(/\s+/g, " ")
    .replace(/,\s*,/g, ",");
}
