/** What the options of gesso train and gesso plan tell the planner. */
import { basename, join, resolve } from "node:path";
import { type BaseModel, loraTypes, readAdapter } from "../index.ts";
import { optionalOneOf } from "./command.ts";
import type { RunChoices } from "./plan-run.ts";
import { readSettings, type TrainOptions } from "./train-options.ts";

/** The options as the planner's choices. Paths are made absolute, so that the run can be resumed from anywhere. */
export async function readChoices(dataset: string, base: BaseModel, options: TrainOptions): Promise<RunChoices> {
  const name = options.name ?? defaultName(options.trigger ?? basename(resolve(dataset)));
  const adapter = options["continue-from"] === undefined ? undefined : await readAdapterShape(options["continue-from"], base);
  return {
    ...readSettings(options),
    name,
    runFolder: join(options.out ?? "runs", name),
    base: options.base === undefined || options.base === "mini" ? "mini" : resolve(options.base),
    type: optionalOneOf(options.type, loraTypes) ?? "concept",
    rank: options.rank ?? adapter?.rank,
    alpha: options.alpha ?? adapter?.alpha,
    continueFrom: adapter?.path,
  };
}

/** A trigger or folder name as a file name. */
function defaultName(text: string): string {
  const name = text
    .replace(/[\\/:*?"<>|\u0000-\u001f]+/g, "-")
    .replace(/\s+/g, "-")
    .replace(/^[.-]+|[.-]+$/g, "");
  return name === "" ? "lora" : name;
}

/** An adapter goes on with its own rank and alpha unless others are asked for. */
async function readAdapterShape(
  path: string,
  base: BaseModel,
): Promise<{ path: string; rank: number | undefined; alpha: number | undefined }> {
  const { modules } = await readAdapter(path, base);
  const [first] = modules;
  const isEven = modules.every(({ rank, alpha }) => rank === first?.rank && alpha === first.alpha);
  return { path: resolve(path), rank: isEven ? first?.rank : undefined, alpha: isEven ? first?.alpha : undefined };
}
