/** The demo's style learns what its held-out pictures have too: their loss against the base model's, for several seeds. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { planRun } from "../src/cli/plan-run.ts";
import { openBase, train } from "../src/index.ts";
import { type Claim, row } from "./claim.ts";

const seeds = [1, 2, 3];
const steps = 150;
const aim = 0.95;

export const heldOut: Claim = {
  name: "held-out",
  about: "held-out loss of the demo's style against the base model's own, for three seeds",
  async run({ machine }) {
    const folder = await mkdtemp(path.join(tmpdir(), "gesso-held-out-"));
    try {
      const curves: (readonly number[])[] = [];
      for (const seed of seeds) curves.push(await ratiosOf(path.join(folder, String(seed)), seed));
      return describe(curves, machine);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

/** The ratio at every validation of one run. The seed also chooses which pictures are held out. */
async function ratiosOf(runFolder: string, seed: number): Promise<readonly number[]> {
  const dataset = path.join(import.meta.dirname, "../examples/style-blueprint");
  const choices = { runFolder, base: "mini", type: "style", trigger: "blueprint", seed, steps, previewPrompts: [] } as const;
  const { plan } = await planRun(dataset, await openBase("mini"), { name: "blueprint", ...choices }, { engine: "ort" });
  const ratios: number[] = [];
  for await (const event of train(plan)) {
    if (event.type === "validation") ratios.push(event.ratio);
    if (event.type === "failed") throw new Error(`held-out: seed ${seed} failed: ${event.message}`);
  }
  return ratios;
}

function describe(curves: readonly (readonly number[])[], machine: readonly string[]): readonly string[] {
  const last = curves.map((ratios) => ratios.at(-1) ?? NaN);
  const mean = last.reduce((sum, ratio) => sum + ratio, 0) / last.length;
  const spread = Math.sqrt(last.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0) / (last.length - 1));
  const verdict = Math.max(...last) <= aim ? `all at most ${aim}` : `NOT all at most ${aim}`;
  return [
    `The demo's style, ${steps} steps: loss on held-out pictures / the base model's`,
    ...machine,
    ...curves.map((ratios, i) => row(`seed ${seeds[i]}`, ratios.map((ratio) => ratio.toFixed(3)).join(" "))),
    row("ratio", `${mean.toFixed(3)} in the mean: ${verdict}`),
    row("spread", `${spread.toFixed(3)} between seeds; the gain is ${((1 - mean) / spread).toFixed(0)} times that`),
  ];
}
