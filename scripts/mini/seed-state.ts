/** Starts a training state from an exported model, so that mini can be trained on where its own state is gone. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { UserError } from "../../src/errors.ts";
import { openSafetensors, readTensor, type TensorToWrite, writeSafetensors } from "../../src/formats/safetensors.ts";
import { weightFiles } from "./export.ts";
import { statePath } from "./run.ts";

/** What is trained together, and so has one state. */
const components = { vae: ["vae"], denoiser: ["unet", "text_encoder", "text_encoder_2"] } as const;

/**
 * Writes the states of the autoencoder and of the denoiser, at step 0 and without moments.
 *
 * @throws UserError when the folder holds states already
 */
export async function seedState(model: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, parts] of Object.entries(components)) {
    const target = statePath({ folder, name });
    if (existsSync(target)) {
      throw new UserError(`${target} is there already; --from would replace what was trained.`, {
        fix: "Give another --state folder, or leave --from out to go on with this one.",
      });
    }
    const tensors: TensorToWrite[] = [];
    for (const part of parts) {
      const file = await openSafetensors(path.join(model, part, weightFiles[part]));
      for (const { name: key, shape } of file.tensors.values()) {
        tensors.push({ name: `${part}.${key}`, dtype: "F32", shape, data: await readTensor(file, key) });
      }
    }
    await writeSafetensors(target, tensors, { step: "0" });
  }
}
