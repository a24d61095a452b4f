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

export function createPreviewer(options: {
  readonly painter: Painter;
  readonly paths: RunPaths;
  readonly settings: TrainSettings;
  readonly adapters: readonly AdapterSpec[];
}): Previewer {
  const { painter, paths, settings } = options;
  const { trigger, previewPrompts } = settings;
  const count = previewPrompts.length;
  const texts = previewTexts(settings);
  /** The base model's pictures do not change during the run. */
  const baseTiles = new Map<number, Pixels>();
  const triggers = trigger === null ? [0] : [0, 1];

  const drawOne = (
    text: number,
    row: number,
    adapters: readonly AdapterSpec[],
    signal: AbortSignal | undefined,
  ): Promise<Pixels> =>
    painter.draw(
      {
        prompt: texts[text] ?? "",
        negativePrompt: "",
        seed: settings.seed + row,
        steps: settings.previewSteps,
        guidance: settings.previewGuidance,
        sampler: "dpmpp_2m",
        widthPx: settings.previewSizePx,
        heightPx: settings.previewSizePx,
        adapters,
      },
      signal,
    );

  return {
    async *draw(step, signal) {
      const total = count * triggers.length * 2;
      let done = 0;
      const tiles: Pixels[][] = [];
      for (let row = 0; row < count; row++) {
        const line: Pixels[] = [];
        for (const withTrigger of triggers) {
          const text = row + withTrigger * count;
          const before = baseTiles.get(text) ?? (await drawOne(text, row, [], signal));
          baseTiles.set(text, before);
          line.push(before, await drawOne(text, row, options.adapters, signal));
          yield [(done += 2), total];
        }
        tiles.push(line);
      }
      const columns = triggers.flatMap((withTrigger) => {
        const suffix = trigger === null ? "" : withTrigger ? `, with "${trigger}"` : `, without "${trigger}"`;
        return [`base${suffix}`, `with adapter${suffix}`];
      });
      const rows = previewPrompts.map((prompt) => removeTrigger(prompt, trigger));
      const note = `Step ${step}. ${settings.previewSteps} steps of DPM++ 2M Karras, guidance ${settings.previewGuidance}, seeds from ${settings.seed}.`;
      const path = join(paths.samples, `${stepName(step)}.png`);
      await writePng(path, await renderSheet({ title: `${settings.name}, step ${step}`, columns, rows, tiles, note }));
      return path;
    },
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
