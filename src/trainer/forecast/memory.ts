/** How much memory each part of a run will take at most, term by term. */
import type { CountedGraph, CountedGraphs, ForecastInput } from "./graphs.ts";
import { encodedBytes } from "./graphs.ts";

/** The parts of a run that differ in what they hold. */
export type RunPhase = "encoding" | "training" | "validation" | "preview";

export interface MemoryTerm {
  /** "UNet weights", "activations", ... */
  readonly name: string;
  readonly bytes: number;
  /** What it is made of, for a person: "4 latents of 16 x 16, 8 texts". */
  readonly about: string;
}

export interface PhaseMemory {
  readonly bytes: number;
  /** They add up to `bytes`. */
  readonly terms: readonly MemoryTerm[];
}

export interface MemoryForecast {
  readonly peakBytes: number;
  readonly peakAt: RunPhase;
  /** What is held at the peak; they add up to `peakBytes`. */
  readonly terms: readonly MemoryTerm[];
  readonly phases: Readonly<Record<RunPhase, PhaseMemory>>;
}

export function forecastMemory(input: ForecastInput, graphs: CountedGraphs): MemoryForecast {
  const phases = {
    encoding: sum(encodingTerms(input, graphs)),
    training: sum(trainingTerms(input, graphs)),
    validation: sum(validationTerms(input, graphs)),
    preview: sum(previewTerms(input, graphs)),
  };
  const peakAt = (Object.keys(phases) as RunPhase[]).reduce((a, b) => (phases[b].bytes > phases[a].bytes ? b : a));
  return { peakBytes: phases[peakAt].bytes, peakAt, terms: phases[peakAt].terms, phases };
}

function sum(terms: readonly MemoryTerm[]): PhaseMemory {
  const some = terms.filter(({ bytes }) => bytes > 0);
  return { bytes: some.reduce((total, { bytes }) => total + bytes, 0), terms: some };
}

function encodingTerms(input: ForecastInput, graphs: CountedGraphs): readonly MemoryTerm[] {
  const { pictureEncoder: pictures, textEncoder: texts } = graphs;
  const count = sessionsFor(input);
  const both = [...Array.from({ length: count }, () => pictures), texts];
  // Captions come last, while what encoded the pictures is still there.
  const isTextWorse = weightBytes(texts) + texts.memory.compiled + heldBytes(texts) + working(texts) > working(pictures);
  const compiled = isTextWorse ? both : both.slice(0, count);
  return [
    startTerm(input, graphs),
    ...weightTerms(isTextWorse ? [pictures, texts] : [pictures]),
    ...compiledTerms(compiled),
    isTextWorse
      ? activationTerm(texts, "of one caption in the text encoders")
      : activationTerm(pictures, "of one picture in the VAE"),
  ];
}

/** What is held from the first step on. */
function heldTerms(input: ForecastInput, graphs: CountedGraphs): readonly MemoryTerm[] {
  const { settings } = input;
  const { step, apply, losses } = graphs;
  const each = [keptStep(input, step), losses];
  return [
    startTerm(input, graphs),
    ...weightTerms([step]),
    ...trainedTerms(input, step, apply),
    ...compiledTerms([...Array.from({ length: sessionsFor(input) }, () => each).flat(), ...(apply ? [apply] : [])]),
    encodedTerm(input),
    ...(settings.previewEvery > 0 ? previewHeld(graphs) : []),
  ];
}

function trainingTerms(input: ForecastInput, graphs: CountedGraphs): readonly MemoryTerm[] {
  return [...heldTerms(input, graphs), activationTerm(keptStep(input, graphs.step), stepAbout(input))];
}

function validationTerms(input: ForecastInput, graphs: CountedGraphs): readonly MemoryTerm[] {
  const about = `of ${input.settings.batch} losses, forward only`;
  return [...heldTerms(input, graphs), activationTerm(graphs.losses, about)];
}

function previewTerms(input: ForecastInput, graphs: CountedGraphs): readonly MemoryTerm[] {
  const { preview } = graphs;
  if (!preview) return [];
  const worst = [preview.denoiser, preview.decoder, ...(preview.text ? [preview.text] : [])].reduce((a, b) =>
    working(b) > working(a) ? b : a,
  );
  const what = worst === preview.decoder ? "of one picture in the VAE's decoder" : "of drawing one picture";
  return [
    ...heldTerms(input, graphs),
    ...(input.settings.previewEvery > 0 ? [] : previewHeld(graphs)),
    activationTerm(worst, what),
  ];
}

/** What stays once a preview has been drawn. */
function previewHeld({ preview, step }: CountedGraphs): readonly MemoryTerm[] {
  if (!preview) return [];
  const { denoiser, decoder, text } = preview;
  const known = new Set(step.memory.buffers.keys());
  const extra = weightTerms([decoder, ...(text ? [text] : [])], known);
  // The denoiser once with the adapter, once without.
  const graphs = [denoiser, denoiser, decoder, ...(text ? [text] : [])];
  const bytes = sumOf(graphs, ({ memory }) => memory.compiled) + sumOf(graphs, heldBytes);
  return [...extra, { name: "previews, compiled", bytes, about: "the graphs that draw, and what they keep" }];
}

/** How often a graph is compiled that every bucket needs. */
function sessionsFor({ dataset, engine }: ForecastInput): number {
  return engine.overhead.sharesSizes ? 1 : dataset.buckets.length;
}

/** The step keeps its memory, where the engine can and it is compiled once. */
function keptStep(input: ForecastInput, step: CountedGraph): CountedGraph {
  const isKept = step.memory.isKept || (sessionsFor(input) === 1 && step.memory.held > 0);
  return { ...step, memory: { ...step.memory, isKept } };
}

/** Of JavaScript and of the engine's thread once the first graph has been made: in all, and for each of its nodes. Measured. */
const bytesOfFirstGraph = 40e6;
const bytesPerMadeNode = 4_300;
/** For each node of the step again, where other sizes or previews have graphs made beside the memory of a run. Measured. */
const bytesPerNodeMadeLater = 2_000;

/** In this process, on top of what it holds already, where that is more than what a fresh one would. */
function startTerm({ engine, dataset, residentBytes = 0 }: ForecastInput, { step, preview }: CountedGraphs): MemoryTerm {
  const { startBytes, isInProcess } = engine.overhead;
  const perNode = bytesPerMadeNode + (dataset.buckets.length > 1 || preview ? bytesPerNodeMadeLater : 0);
  const made = bytesOfFirstGraph + perNode * step.graph.nodes.length;
  const bytes = isInProcess ? Math.max(residentBytes, startBytes) + made : startBytes;
  return { name: "engine", bytes, about: "the program and the engine's libraries" };
}

function compiledTerms(graphs: readonly CountedGraph[]): readonly MemoryTerm[] {
  return [
    { name: "compiled graphs", bytes: sumOf(graphs, ({ memory }) => memory.compiled), about: `${graphs.length} of them` },
    { name: "kept by compiled graphs", bytes: sumOf(graphs, heldBytes), about: "activations of small ones and of the step" },
  ];
}

function activationTerm(graph: CountedGraph, about: string): MemoryTerm {
  return { name: "activations", bytes: working(graph), about };
}

/** What a graph holds all the time. */
function heldBytes({ memory: { isKept, held } }: CountedGraph): number {
  return isKept ? held : 0;
}

/** What a run of a graph takes beside that. */
function working({ memory: { isKept, activations, feeds, results } }: CountedGraph): number {
  return (isKept ? 0 : activations) + feeds + results;
}

function sumOf(graphs: readonly CountedGraph[], bytesOf: (graph: CountedGraph) => number): number {
  return graphs.reduce((total, graph) => total + bytesOf(graph), 0);
}

function weightBytes({ memory }: CountedGraph): number {
  return [...memory.buffers.values()].reduce((total, bytes) => total + bytes, 0);
}

const componentNames: ReadonlyMap<string, string> = new Map([
  ["unet", "UNet"],
  ["vae", "VAE"],
  ["text_encoder", "text encoder"],
  ["text_encoder_2", "second text encoder"],
]);

/** The base's weights that graphs read, by component, each counted once. */
function weightTerms(graphs: readonly CountedGraph[], known: ReadonlySet<string> = new Set()): readonly MemoryTerm[] {
  const seen = new Set(known);
  const bytes = new Map<string, number>();
  for (const { memory } of graphs) {
    for (const [name, size] of memory.buffers) {
      const component = componentNames.get(name.slice(0, name.indexOf(".")));
      if (component === undefined || seen.has(name)) continue;
      seen.add(name);
      bytes.set(component, (bytes.get(component) ?? 0) + size);
    }
  }
  return [...bytes].map(([name, size]) => ({ name: `${name} weights`, bytes: size, about: "the base model's" }));
}

/** Adapter, moments, accumulators and gradients. */
function trainedTerms({ settings }: ForecastInput, step: CountedGraph, apply: CountedGraph | undefined): readonly MemoryTerm[] {
  const all = new Map([...(apply?.memory.buffers ?? []), ...step.memory.buffers]);
  const parts = { adapter: 0, moments: 0, sums: 0 };
  for (const [name, bytes] of all) {
    if (!name.startsWith("adapter.")) continue;
    const part = /\.(m|v)$/.test(name) ? "moments" : name.endsWith(".grad") ? "sums" : "adapter";
    parts[part] += bytes;
  }
  return [
    { name: "adapter", bytes: parts.adapter, about: `rank ${settings.rank}, float32` },
    { name: "optimizer", bytes: parts.moments, about: "AdamW's two moments" },
    { name: "accumulated gradients", bytes: parts.sums, about: `over ${settings.accumulation} microsteps` },
  ];
}

function encodedTerm(input: ForecastInput): MemoryTerm {
  const { dataset, settings } = input;
  const times = settings.flip ? 2 : 1;
  const pictures = dataset.buckets.reduce((total, bucket) => {
    const { picture } = encodedBytes(input, bucket);
    return total + picture * ((bucket.pictures - bucket.heldOut) * times + bucket.heldOut);
  }, 0);
  const { text } = encodedBytes(input, { height: 0, width: 0 });
  const count = dataset.buckets.reduce((total, bucket) => total + bucket.pictures, 0);
  return {
    name: "encoded pictures and captions",
    bytes: pictures + text * (dataset.captions + 1),
    about: `${count} pictures, ${dataset.captions} captions`,
  };
}

function stepAbout({ settings, dataset }: ForecastInput): string {
  const sizes = dataset.buckets.length === 1 ? "" : ` in the largest of ${dataset.buckets.length} buckets`;
  return `of ${settings.batch} ${settings.batch === 1 ? "picture" : "pictures"}, forward and backward${sizes}`;
}
