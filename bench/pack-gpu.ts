/** Packs the torch engine's worker and SDXL's step into a folder that runs wherever there is a Python with torch: no Node, no network, no weights. */
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { torchFacts } from "../src/engines/torch/engine.ts";
import { serialize } from "../src/engines/torch/serialize.ts";
import { UserError } from "../src/errors.ts";
import { countCost } from "../src/graph/cost.ts";
import { byteSizeOf, type FloatDType, type QuantisedDType } from "../src/graph/graph.ts";
import { prepareGraph } from "../src/trainer/weights.ts";
import { type Claim, row } from "./claim.ts";
import { buildSdxlStep, reducedUnet, sdxlUnet } from "./sdxl-graph.ts";

const rank = 16;
const pixelsPerLatent = 8;

/** The steps in a pack: as users would train, then with less and less memory. */
const variants: readonly { readonly name: string; readonly recompute?: boolean; readonly basePrecision?: QuantisedDType }[] = [
  { name: "plain" },
  { name: "recomputed", recompute: true },
  { name: "recomputed-int8", recompute: true, basePrecision: "int8" },
  { name: "recomputed-nf4", recompute: true, basePrecision: "nf4" },
];

export interface PackOptions {
  readonly folder: string;
  /** Blocks that a processor can run. */
  readonly isReduced: boolean;
  readonly precision?: FloatDType;
}

/** Writes run.py, the worker, the UNet's config.json and a program for each variant. */
export async function writePack({ folder, isReduced, precision = "bfloat16" }: PackOptions): Promise<readonly string[]> {
  const [config, sidePx] = isReduced ? [reducedUnet, 128] : [sdxlUnet, 1024];
  const worker = path.join(import.meta.dirname, "../src/engines/torch/worker");
  await mkdir(path.join(folder, "programs"), { recursive: true });
  await rm(path.join(folder, "worker"), { recursive: true, force: true });
  await cp(worker, path.join(folder, "worker"), { recursive: true, filter: (name) => !name.includes("__pycache__") });
  for (const [script, name] of [["pack_run.py", "run.py"], ["mini_step.py"], ["measure.py"]] as const) {
    await cp(path.join(import.meta.dirname, "torch", script), path.join(folder, name ?? script));
  }
  await writeFile(path.join(folder, "config.json"), JSON.stringify(config));
  const built = await buildSdxlStep({ config, side: sidePx / pixelsPerLatent, rank });
  const facts = torchFacts("cuda", precision);
  const lines: string[] = [];
  for (const { name, recompute, basePrecision } of variants) {
    const storedIn = (buffer: string) => (buffer.startsWith("unet.") ? undefined : "float32");
    const graph = prepareGraph(built, facts, { recompute, basePrecision, storedIn });
    const { program, constants } = serialize(graph, `sdxl ${name}`);
    const memory = facts.overhead.countMemory(graph);
    const { flops, matmulFlops } = countCost(graph);
    const buffers = [...memory.buffers.values()].reduce((sum, bytes) => sum + bytes, 0);
    const predicted = { buffers, feeds: memory.feeds, activations: memory.activations };
    const pack = {
      ...{ name, sidePx, rank, precision, basePrecision: basePrecision ?? precision, flops, matmulFlops, predicted, program },
      constants: constants.map(({ name: value, shape, data }) => ({ value, shape, data: [...data] })),
      feeds: graph.inputs.flatMap(({ attrs }) => (attrs.kind === "feed" ? [attrs] : [])),
      buffers: graph.inputs.flatMap(({ attrs }) => (attrs.kind === "buffer" ? [attrs] : [])),
    };
    const text = JSON.stringify(pack);
    await writeFile(path.join(folder, "programs", `${name}.json`), text);
    const total = buffers + memory.feeds + memory.activations;
    const weights = pack.buffers.reduce((sum, spec) => sum + (spec.name.startsWith("unet.") ? byteSizeOf(spec) : 0), 0);
    const giga = (bytes: number): string => `${(bytes / 1e9).toPrecision(3)} GB`;
    const parts = `weights ${giga(weights)}, activations ${giga(memory.activations)}`;
    lines.push(row("program", `${name}: ${(flops / 1e12).toPrecision(3)} TFLOP; predicted ${giga(total)}, of them ${parts}`));
  }
  return lines;
}

export const packGpu: Claim = {
  name: "pack-gpu",
  about: "writes a folder (--out) with SDXL's step for a machine that has torch and nothing else; only when it is named",
  onlyWhenNamed: true,
  async run({ out, isReduced }) {
    if (out === undefined) {
      throw new UserError("pack-gpu needs --out.", { fix: "npm run bench -- pack-gpu --out .cache/pack-gpu", exitCode: 2 });
    }
    const lines = await writePack({ folder: path.resolve(out), isReduced });
    return [`${out}: copy it to the machine and run: python run.py`, ...lines];
  },
};
