/** A grid over an adapter's weights: one graph that is fed the weight against a graph compiled for each, on mini. */
import { openBase } from "../src/index.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import type { Executable } from "../src/engines/engine.ts";
import { normal } from "../src/diffusion/philox.ts";
import { adapterBufferNames, adapterShapes, type AdapterSpec, strengthFeeds } from "../src/lora/inject.ts";
import { findTargets } from "../src/lora/targets.ts";
import { textWidths, plainText, tokenCount } from "../src/checkpoints/base.ts";
import { buildDenoiser } from "../src/trainer/denoiser.ts";
import { createWeightStore } from "../src/trainer/weights.ts";
import { type Claim, formatTimes, median, row } from "./claim.ts";

const strengths = [0, 0.25, 0.5, 0.75, 1, 1.25];
const steps = 20;
const rank = 8;

export const grid: Claim = {
  name: "grid",
  about: `a sheet of ${strengths.length} weights of a LoRA on mini: one graph for all against one for each`,
  async run({ machine, threads, rounds }) {
    const sides = await prepare(threads);
    try {
      const times = { fed: [] as number[], builtIn: [] as number[] };
      let isSame = true;
      for (let round = 0; round < rounds; round++) {
        const [fed, fedMs] = await timed(() => sides.drawFed());
        const [builtIn, builtInMs] = await timed(() => sides.drawBuiltIn());
        times.fed.push(fedMs);
        times.builtIn.push(builtInMs);
        isSame &&= fed.every((values, i) => values.every((value, j) => Object.is(value, builtIn[i]?.[j])));
      }
      const ratio = median(times.builtIn.map((ms, i) => ms / (times.fed[i] ?? NaN)));
      return [
        `${strengths.length} weights, ${steps} steps each at 128 px with guidance, preparation included`,
        ...machine,
        row("fed", formatTimes(times.fed)),
        row("built in", formatTimes(times.builtIn)),
        row("ratio", `${ratio.toFixed(2)}: built in takes so much longer, the median of ${rounds} turns in one process`),
        row("bytes", isSame ? "the same on both sides" : "NOT THE SAME on both sides"),
      ];
    } finally {
      await sides.dispose();
    }
  },
};

async function prepare(threads: number) {
  const base = await openBase("mini");
  const engine = await createOrtEngine({ threads });
  const weights = createWeightStore(engine, base);
  const side = base.nativeResolutionPx / base.pixelsPerLatent;
  const shape = { batch: 2, height: side, width: side };
  const build = (adapters: readonly AdapterSpec[]) => buildDenoiser(base, { shape, adapters, text: "embeddings" });
  const specs: AdapterSpec[] = [];
  for (const { path, weightShape } of findTargets(build([]), "attention+ff")) {
    const names = adapterBufferNames({ path });
    const shapes = adapterShapes(weightShape, rank);
    for (const part of ["down", "up"] as const) {
      const count = shapes[part].reduce((product, size) => product * size, 1);
      const data = normal({ seed: 1, purpose: "init", sample: specs.length }, count).map((value) => value / 50);
      await engine.allocate({ name: names[part], shape: shapes[part], dtype: "float32" }, { kind: "data", data });
    }
    specs.push({ path, rank, alpha: rank });
  }
  const { embeddings, pooled = 0 } = textWidths(base);
  const run = async (executable: Executable, more: Record<string, Float32Array>): Promise<Float32Array> => {
    const { prediction } = await executable.run({
      noisyLatents: normal({ seed: 2, purpose: "noise" }, shape.batch * base.unet.inChannels * side * side),
      timesteps: Float32Array.of(500, 500),
      textEmbeddings: normal({ seed: 3, purpose: "noise" }, shape.batch * tokenCount(base, plainText) * embeddings),
      pooled: normal({ seed: 4, purpose: "noise" }, shape.batch * pooled),
      timeIds: new Float32Array(shape.batch * 6),
      ...more,
    });
    if (!(prediction instanceof Float32Array)) throw new Error("grid: no prediction");
    return prediction;
  };
  const repeat = async (executable: Executable, feeds: () => Record<string, Float32Array>): Promise<Float32Array> => {
    let last: Float32Array = new Float32Array();
    for (let step = 0; step < steps; step++) last = await run(executable, feeds());
    return last;
  };
  const at = (weight: number | "fed") => specs.map((spec) => ({ ...spec, weight }));
  // The base's weights are loaded before the clock is on.
  await (await weights.compile(build([]), "warm-up")).dispose();
  return {
    async drawFed(): Promise<readonly Float32Array[]> {
      const executable = await weights.compile(build(at("fed")), "fed");
      const drawn: Float32Array[] = [];
      for (const weight of strengths) drawn.push(await repeat(executable, () => strengthFeeds(at(weight))));
      await executable.dispose();
      return drawn;
    },
    async drawBuiltIn(): Promise<readonly Float32Array[]> {
      const drawn: Float32Array[] = [];
      for (const weight of strengths) {
        const executable = await weights.compile(build(at(weight)), "built in");
        drawn.push(await repeat(executable, () => ({})));
        await executable.dispose();
      }
      return drawn;
    },
    dispose: () => engine.dispose(),
  };
}

async function timed<T>(act: () => Promise<T>): Promise<readonly [T, number]> {
  const startedAt = performance.now();
  const result = await act();
  return [result, performance.now() - startedAt];
}
