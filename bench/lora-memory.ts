/**
 * Peak memory of merging, resizing and extracting on a base model with one very large layer, as a multiple of that layer. Run with --help
 * for more.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BaseModel, BaseWeight } from "../src/checkpoints/base.ts";
import { readDifference } from "../src/checkpoints/extract-adapter.ts";
import { normal } from "../src/diffusion/philox.ts";
import { copySafetensors } from "../src/formats/safetensors-copy.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../src/formats/safetensors.ts";
import { createDraft } from "../src/lora/draft.ts";
import { addProduct } from "../src/lora/matrix.ts";
import { resizeAdapter } from "../src/lora/rework.ts";
import { reduceDense } from "../src/lora/svd.ts";

const help = `Usage: npx tsx bench/lora-memory.ts

For each way of working on a layer of 10240 x 2560 (105 MB in float32), in a process of its own: the most resident memory during the work, less what
the process held before it, divided by the layer's float32 bytes. "nothing" only opens the files. Linux only: it reads /proc. At most 2 and a little is claimed.`;

const [rows, columns, rank] = [10240, 2560, 32];
const layerBytes = rows * columns * 4;
const module = "lora_unet_mid_block_attentions_0_proj_in";

/** What is measured: on two files with one layer each, and an adapter for it. */
const works: Readonly<Record<string, (folder: string) => Promise<void>>> = {
  nothing: async (folder) => {
    await openSafetensors(join(folder, "base.safetensors"));
  },
  /** The work of mergeIntoBase on one weight. */
  merge: async (folder) => {
    const file = await openSafetensors(join(folder, "base.safetensors"));
    const adapter = await openSafetensors(join(folder, "adapter.safetensors"));
    const up = { rows, columns: rank, data: await readTensor(adapter, `${module}.lora_up.weight`) };
    const down = { rows: rank, columns, data: await readTensor(adapter, `${module}.lora_down.weight`) };
    const change = (data: Float32Array): Promise<void> => Promise.resolve(addProduct({ rows, columns, data }, up, down, 1));
    const entry = file.tensors.get("layer");
    if (!entry) throw new Error("no layer");
    await copySafetensors(file, join(folder, "merged.safetensors"), [{ ...entry, change }]);
  },
  resize: async (folder) => {
    const out = join(folder, "small.safetensors");
    await resizeAdapter(join(folder, "adapter.safetensors"), { out, choice: { rank: 8 }, version: "0" });
  },
  /** The work of extractAdapter on one layer. */
  extract: async (folder) => {
    const [tuned, base] = [
      await openLayer(join(folder, "tuned.safetensors")),
      await openLayer(join(folder, "base.safetensors")),
    ];
    reduceDense({ rows, columns, data: await readDifference(tuned, base, "layer") }, { rank: 32 });
  },
};

async function openLayer(path: string): Promise<Pick<BaseModel, "weights">> {
  const { tensors } = await openSafetensors(path);
  const weights = [...tensors].map(([name, { shape, dtype, ...range }]): [string, BaseWeight] => {
    const source = { kind: "file", path, offset: range.offset, byteLength: range.byteLength, storedDtype: dtype } as const;
    return [name, { shape, source }];
  });
  return { weights: new Map(weights) };
}

async function writeFiles(folder: string): Promise<void> {
  const shape = [rows, columns];
  const layer = new Float32Array(rows * columns);
  for (let i = 0; i < layer.length; i++) layer[i] = ((i * 2654435761) % 1009) / 1009;
  await writeSafetensors(join(folder, "base.safetensors"), [{ name: "layer", dtype: "F16", shape, data: layer }]);
  const up = { shape: [rows, rank], data: normal({ seed: 1, purpose: "noise", sample: 0 }, rows * rank) };
  const down = { shape: [rank, columns], data: normal({ seed: 1, purpose: "noise", sample: 1 }, rank * columns) };
  addProduct({ rows, columns, data: layer }, { rows, columns: rank, data: up.data }, { rows: rank, columns, data: down.data }, 0.01); // prettier-ignore
  await writeSafetensors(join(folder, "tuned.safetensors"), [{ name: "layer", dtype: "F16", shape, data: layer }]);
  const fixes = { number: "", nothing: "" };
  const draft = createDraft({ path: join(folder, "adapter.safetensors"), dtype: "float16", fixes });
  draft.add({ name: module, layer: module, rank, alpha: rank, up, down });
  await draft.write({ training: {}, others: () => ({}) });
}

/** The greatest resident memory of this process's own. `resourceUsage` would count what the parent held when it started the child. */
function peakBytes(): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}

/** In a child: does one work and prints the bytes that it took beyond what was there. */
async function measure(work: string, folder: string): Promise<void> {
  const before = peakBytes();
  await works[work]?.(folder);
  console.log(JSON.stringify({ bytes: peakBytes() - before }));
}

async function main(): Promise<void> {
  const [flag, work, folder] = process.argv.slice(2);
  if (flag === "--help") return void console.log(help);
  if (flag === "--child" && work !== undefined && folder !== undefined) return measure(work, folder);
  const made = await mkdtemp(join(tmpdir(), "gesso-lora-memory-"));
  try {
    await writeFiles(made);
    for (const name of Object.keys(works)) {
      const child = spawnSync(process.execPath, ["--import", "tsx", fileURLToPath(import.meta.url), "--child", name, made], {
        encoding: "utf8",
      });
      if (child.status !== 0) throw new Error(`${name} failed: ${child.stderr}`);
      const { bytes } = JSON.parse(child.stdout) as { bytes: number };
      console.log(`${name.padEnd(8)}  ${(bytes / layerBytes).toFixed(2)} x the layer`);
    }
  } finally {
    await rm(made, { recursive: true });
  }
}

await main();
