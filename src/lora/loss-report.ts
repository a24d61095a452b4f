/** What an adapter lost when it was reduced, network by network. */

/** A network's layers in a reworked adapter. */
export interface PartReport {
  /** "unet", "text_encoder", "text_encoder_2", or "transformer". */
  readonly part: string;
  readonly layers: number;
  readonly leastRank: number;
  readonly greatestRank: number;
  /** Layers that were approximated; the others are exact. */
  readonly reducedLayers: number;
  /** The share of the squared norm that the approximated layers keep together, 0 to 1; 1 where none was approximated. */
  readonly keptEnergy: number;
}

export interface LossReport {
  add(
    layer: string,
    result: { readonly rank: number; readonly loss: { readonly keptEnergy: number; readonly energy: number } | undefined },
  ): void;
  parts(): readonly PartReport[];
}

export function createLossReport(): LossReport {
  const sums = new Map<string, { ranks: number[]; reduced: number; kept: number; energy: number }>();
  return {
    add(layer, { rank, loss }) {
      const part = partOf(layer);
      const sum = sums.get(part) ?? { ranks: [], reduced: 0, kept: 0, energy: 0 };
      sum.ranks.push(rank);
      if (loss) {
        sum.reduced++;
        sum.kept += loss.keptEnergy * loss.energy;
        sum.energy += loss.energy;
      }
      sums.set(part, sum);
    },
    parts: () =>
      [...sums].map(([part, { ranks, reduced, kept, energy }]) => ({
        part,
        layers: ranks.length,
        leastRank: Math.min(...ranks),
        greatestRank: Math.max(...ranks),
        reducedLayers: reduced,
        keptEnergy: energy === 0 ? 1 : kept / energy,
      })),
  };
}

const marks: readonly (readonly [mark: RegExp, part: string])[] = [
  [/^(lora_te2_|text_encoder_2\.)|clip_g/, "text_encoder_2"],
  [/^(lora_te1?_|text_encoder\.)|clip_l/, "text_encoder"],
  [/^(lora_te3_|text_encoders\.t5)/, "text_encoder_3"],
  [/double_blocks|single_blocks|single_transformer_blocks|^transformer\./, "transformer"],
];

/** The network that a layer belongs to, by its path or its name in a file. */
export function partOf(layer: string): string {
  if (layer.startsWith("unet.")) return "unet";
  return marks.find(([mark]) => mark.test(layer))?.[1] ?? "unet";
}
