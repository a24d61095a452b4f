/** The base model that an adapter file is to be understood by. */
import { type BaseModel, openAdapter, openBase } from "../index.ts";

/**
 * The given one; the bundled model, which is at hand, where the file says that it was trained on it; else none, for the layers of SD 1.5 and
 * SDXL are known.
 */
export async function findAdapterBase(file: string, given: string | undefined): Promise<BaseModel | undefined> {
  if (given !== undefined) return openBase(given);
  const { metadata, layout } = await openAdapter(file);
  return layout === undefined && metadata.ss_sd_model_name === "mini" ? openBase("mini") : undefined;
}
