/** Losses at fixed noise and fixed timesteps: the only losses that can be compared between steps. */
import { normal, permutation } from "../diffusion/philox.ts";
import type { BaseModel } from "../checkpoints/base.ts";
import type { TrainSettings } from "../planner/plan.ts";
import type { EncodedPicture } from "./encode.ts";
import type { Losses } from "./events.ts";
import type { FeedMaker, Sample } from "./feeds.ts";
import type { Network } from "./network.ts";
import type { RunPicture } from "./pictures.ts";

/** More training pictures than this only cost time: they are the easy half of the comparison. */
const MAX_TRAIN_PICTURES = 8;

/** How many losses a measurement takes. */
export function countProbes(
  pictures: readonly Pick<RunPicture, "isHeldOut">[],
  { validationTimesteps }: Pick<TrainSettings, "validationTimesteps">,
): number {
  const heldOut = pictures.filter(({ isHeldOut }) => isHeldOut).length;
  return (heldOut + Math.min(MAX_TRAIN_PICTURES, pictures.length - heldOut)) * validationTimesteps.length;
}

export interface Validator {
  measure(network: Network): Promise<Losses>;
}

/** One loss to be taken. */
interface Probe {
  readonly picture: number;
  readonly isHeldOut: boolean;
  readonly sample: Sample;
  /** Size of the latents, as a key. */
  readonly size: readonly [height: number, width: number];
}

/**
 * All held-out pictures and a fixed choice of the others, at every one of the plan's timesteps; noise is a function of seed, picture
 * and timestep alone.
 */
export function createValidator(options: {
  readonly base: Pick<BaseModel, "vae" | "pixelsPerLatent">;
  readonly settings: Pick<TrainSettings, "seed" | "batch" | "validationTimesteps">;
  readonly pictures: readonly RunPicture[];
  readonly encoded: (picture: number) => EncodedPicture;
  readonly feeds: FeedMaker;
}): Validator {
  // Pictures may be encoded after this is made.
  let probes: readonly Probe[] | undefined;
  const { batch } = options.settings;
  return {
    async measure(network) {
      probes ??= chooseProbes(options);
      const sums = { train: 0, heldOut: 0, trainCount: 0, heldOutCount: 0 };
      for (const group of batches(probes, batch)) {
        const [height, width] = group[0].size;
        // A last batch that is not full is filled with its first picture, whose further losses are not counted.
        const full = Array.from({ length: batch }, (_, i) => (group[i] ?? group[0]).sample);
        const losses = await network.losses({ batch, height, width }, options.feeds.batch(full));
        group.forEach(({ isHeldOut }, i) => {
          if (isHeldOut) sums.heldOut += losses[i] ?? NaN;
          else sums.train += losses[i] ?? NaN;
          sums[isHeldOut ? "heldOutCount" : "trainCount"]++;
        });
      }
      return { train: sums.train / sums.trainCount, heldOut: sums.heldOutCount > 0 ? sums.heldOut / sums.heldOutCount : null };
    },
  };
}

function chooseProbes(options: Parameters<typeof createValidator>[0]): readonly Probe[] {
  const { base, settings, pictures } = options;
  const { seed, validationTimesteps } = settings;
  const inTraining = pictures.flatMap(({ isHeldOut }, i) => (isHeldOut ? [] : [i]));
  const order = permutation({ seed, purpose: "heldOut" }, inTraining.length);
  const chosen = new Set([...order].slice(0, MAX_TRAIN_PICTURES).map((i) => inTraining[i]));
  return pictures.flatMap(({ bucket, caption, isHeldOut }, index) => {
    if (!isHeldOut && !chosen.has(index)) return [];
    const size = [bucket.heightPx / base.pixelsPerLatent, bucket.widthPx / base.pixelsPerLatent] as const;
    return validationTimesteps.map((timestep, k) => {
      const count = base.vae.latentChannels * size[0] * size[1];
      // Steps 1 and up: 0 is the choice of pictures.
      const noise = normal({ seed, purpose: "heldOut", step: k + 1, sample: index }, count);
      return { picture: index, isHeldOut, size, sample: { picture: options.encoded(index), caption, noise, timestep } };
    });
  });
}

/** Probes of one size, up to `batch` together. */
function batches(probes: readonly Probe[], batch: number): readonly (readonly [Probe, ...Probe[]])[] {
  const bySize = new Map<string, Probe[]>();
  for (const probe of probes) {
    const list = bySize.get(probe.size.join("x")) ?? [];
    list.push(probe);
    bySize.set(probe.size.join("x"), list);
  }
  return [...bySize.values()].flatMap((list) => {
    const groups: [Probe, ...Probe[]][] = [];
    for (let i = 0; i < list.length; i += batch) {
      const [first, ...others] = list.slice(i, i + batch);
      if (first) groups.push([first, ...others]);
    }
    return groups;
  });
}
