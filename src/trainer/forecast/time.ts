/** How long each part of a run will take. */
import type { DeviceProfile } from "../../engines/engine.ts";
import { estimateSeconds } from "../../engines/estimate.ts";
import { areaOf, type BucketLoad, type CountedGraph, type CountedGraphs, type ForecastInput, worstBucket } from "./graphs.ts";

export interface TimeTerm {
  readonly name: string;
  /** Once. */
  readonly seconds: number;
  /** How often in the run. */
  readonly times: number;
  readonly about: string;
}

export interface TimeForecast {
  /** Mean over the buckets, all microsteps together. */
  readonly stepSeconds: number;
  /** Loading and encoding, when nothing was encoded before. */
  readonly startSeconds: number;
  /** Each time. */
  readonly validationSeconds: number;
  readonly previewSeconds: number;
  readonly checkpointSeconds: number;
  readonly totalSeconds: number;
  /** Seconds x times add up to `totalSeconds`. */
  readonly terms: readonly TimeTerm[];
}

export function forecastTime(input: ForecastInput, graphs: CountedGraphs, profile: DeviceProfile): TimeForecast {
  const { settings } = input;
  const seconds = (counted: CountedGraph | undefined): number => (counted ? estimateSeconds(counted.graph, profile) : 0);
  const stepSeconds = settings.accumulation * meanOverBuckets(input, (b) => seconds(graphs.stepOf(b))) + seconds(graphs.apply);
  const startSeconds = encodeSeconds(input, graphs, seconds) + loadSeconds(graphs, profile);
  const validationSeconds = validate(input, graphs, seconds);
  const previewSeconds = preview(input, graphs, seconds);
  const checkpointSeconds = checkpoint(graphs, profile);
  const due = (every: number): number => (every > 0 ? Math.floor((settings.steps - 1) / every) : 0) + 1;
  const terms: readonly TimeTerm[] = [
    { name: "loading and encoding", seconds: startSeconds, times: 1, about: "none of it when it was encoded before" },
    { name: "steps", seconds: stepSeconds, times: settings.steps, about: "mean over the buckets" },
    {
      name: "validation",
      seconds: validationSeconds,
      times: due(settings.validateEvery) + 1,
      about: "and once before the first step",
    },
    { name: "previews", seconds: previewSeconds, times: due(settings.previewEvery), about: "a sheet each" },
    { name: "checkpoints", seconds: checkpointSeconds, times: due(settings.checkpointEvery), about: "written to the disk" },
  ];
  const totalSeconds = terms.reduce((total, term) => total + term.seconds * term.times, 0);
  return { stepSeconds, startSeconds, validationSeconds, previewSeconds, checkpointSeconds, totalSeconds, terms };
}

/** Work grows with the pixels; between the largest and the smallest bucket it is taken as a straight line, and only those two are counted. */
function meanOverBuckets({ dataset }: ForecastInput, secondsOf: (bucket: BucketLoad) => number): number {
  const largest = worstBucket(dataset);
  const smallest = dataset.buckets.reduce((a, b) => (areaOf(b) < areaOf(a) ? b : a));
  const high = secondsOf(largest);
  const isNear = areaOf(smallest) >= nearlyAsLarge * areaOf(largest);
  const low = isNear ? (high * areaOf(smallest)) / areaOf(largest) : secondsOf(smallest);
  const range = areaOf(largest) - areaOf(smallest);
  return dataset.buckets.reduce((sum, bucket) => {
    const along = range === 0 ? 1 : (areaOf(bucket) - areaOf(smallest)) / range;
    return sum + bucket.share * (low + along * (high - low));
  }, 0);
}

/** A smallest bucket of at least so many of the largest one's pixels is not counted by itself. */
const nearlyAsLarge = 0.85;

type SecondsOf = (counted: CountedGraph | undefined) => number;

function encodeSeconds({ settings, dataset }: ForecastInput, graphs: CountedGraphs, seconds: SecondsOf): number {
  const worst = worstBucket(dataset);
  const each = seconds(graphs.pictureEncoder);
  const pictures = dataset.buckets.reduce((total, bucket) => {
    const runs = bucket.heldOut + (bucket.pictures - bucket.heldOut) * (settings.flip ? 2 : 1);
    return total + (runs * each * areaOf(bucket)) / areaOf(worst);
  }, 0);
  return pictures + dataset.captions * seconds(graphs.textEncoder);
}

/** Reading and converting base weights. */
function loadSeconds({ pictureEncoder, textEncoder, step }: CountedGraphs, { bytesPerSecond }: DeviceProfile): number {
  const names = new Map([...pictureEncoder.memory.buffers, ...textEncoder.memory.buffers, ...step.memory.buffers]);
  let bytes = 0;
  for (const size of names.values()) bytes += size;
  return bytes / bytesPerSecond;
}

/** The most training pictures that a validation looks at: see validate.ts. */
const maxTrainPictures = 8;

function validate({ settings, dataset }: ForecastInput, graphs: CountedGraphs, seconds: SecondsOf): number {
  const heldOut = dataset.buckets.reduce((total, bucket) => total + bucket.heldOut, 0);
  const trained = dataset.buckets.reduce((total, bucket) => total + bucket.pictures - bucket.heldOut, 0);
  const probes = (heldOut + Math.min(maxTrainPictures, trained)) * settings.validationTimesteps.length;
  return Math.ceil(probes / settings.batch) * seconds(graphs.losses);
}

function preview({ settings }: ForecastInput, { preview: drawn }: CountedGraphs, seconds: SecondsOf): number {
  if (!drawn) return 0;
  // With the adapter only: the base's pictures are drawn for the first sheet.
  const pictures = settings.previewPrompts.length * (settings.trigger === null ? 1 : 2);
  return pictures * (settings.previewSteps * seconds(drawn.denoiser) + seconds(drawn.decoder) + 2 * seconds(drawn.text));
}

/** Parameters and moments read, checked and written. */
function checkpoint({ step, apply }: CountedGraphs, { bytesPerSecond }: DeviceProfile): number {
  const buffers = (apply ?? step).memory.buffers;
  let bytes = 0;
  for (const [name, size] of buffers) if (name.startsWith("adapter.")) bytes += size;
  return (4 * bytes) / bytesPerSecond;
}
