/** Refuses paths that can be no base model before anything of them is parsed: by what they are called, then by their first bytes. */
import { open, stat } from "node:fs/promises";
import { UserError } from "../errors.ts";

/** What may stand after --base. */
export const SUPPORTED =
  "Give the name mini, a .safetensors file of SD 1.5 or SDXL, or a diffusers folder (with model_index.json).";

const PICKLE = "a pickle, which can run any code when it is opened";
const USE_SAFETENSORS = "Use the model's .safetensors version.";

/** What files are by their first bytes, whatever they are called. */
const magics: readonly (readonly [start: RegExp, what: string, fix: string])[] = [
  [/^PK\x03\x04/, `a zip file with ${PICKLE}, as PyTorch saves models`, USE_SAFETENSORS],
  [/^\x80[\x02-\x05]/, PICKLE, USE_SAFETENSORS],
  [/^GGUF/, "a GGUF file, whose weights are quantised", `${USE_SAFETENSORS} Quantised bases are not supported.`],
  [/^version https:\/\//, "a Git LFS pointer, not the model itself", "Run `git lfs pull` where it lies."],
  [/^\s*<(!doctype|html)/i, "a web page: a download that failed", "Download the model again."],
];

/**
 * @param path a file or a folder
 * @returns whether it is a folder
 * @throws UserError when nothing lies there, or a file that is never opened: a pickle, a GGUF, a failed download
 */
export async function refuseOtherForms(path: string): Promise<"file" | "folder"> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new UserError(`There is no base model at ${path}.`, { fix: SUPPORTED });
  if (found.isDirectory()) return "folder";
  if (/\.(ckpt|pt|pth|bin|pkl)$/i.test(path)) throw new UserError(`${path} is ${PICKLE}.`, { fix: USE_SAFETENSORS });
  const start = await readStart(path);
  // A safetensors file begins with the length of its header, which may look like any of these, and then the header's brace.
  if (start[8] === "{") return "file";
  for (const [magic, what, fix] of magics) if (magic.test(start)) throw new UserError(`${path} is ${what}.`, { fix });
  return "file";
}

async function readStart(path: string): Promise<string> {
  const handle = await open(path).catch((error: unknown) => {
    throw new UserError(`Cannot read ${path}: ${(error as Error).message}.`, { fix: "Check the file and its permissions." });
  });
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(32), 0, 32, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
