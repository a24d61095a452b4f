/** What an adapter's metadata says of its training: the fields of sd-scripts, ModelSpec and ai-toolkit, in a person's order. */

export interface TrainingSummary {
  readonly title: string | undefined;
  /** Words that call it, surest first: the trigger phrase, then the most frequent tags. */
  readonly trigger: string | undefined;
  /** Most frequent first, with their counts. */
  readonly tags: readonly (readonly [tag: string, count: number])[];
  readonly base: string | undefined;
  /** "steps", "1,200" and so on; what the file does not say is left out. */
  readonly settings: readonly (readonly [name: string, value: string])[];
  /** How many fields of metadata there are. */
  readonly fields: number;
}

type Metadata = Readonly<Record<string, string>>;

const shown: readonly (readonly [name: string, keys: readonly string[]])[] = [
  ["steps", ["ss_steps"]],
  ["epochs", ["ss_epoch"]],
  ["pictures", ["ss_num_train_images"]],
  ["resolution", ["ss_resolution", "modelspec.resolution"]],
  ["learning rate", ["ss_unet_lr", "ss_learning_rate"]],
  ["text encoder rate", ["ss_text_encoder_lr"]],
  ["optimizer", ["ss_optimizer"]],
  ["schedule", ["ss_lr_scheduler"]],
  ["min-SNR gamma", ["ss_min_snr_gamma"]],
  ["noise offset", ["ss_noise_offset"]],
  ["clip skip", ["ss_clip_skip"]],
  ["seed", ["ss_seed"]],
  ["author", ["modelspec.author"]],
  ["license", ["modelspec.license"]],
  ["date", ["modelspec.date"]],
];

/** @example readTraining(file.metadata).trigger */
export function readTraining(metadata: Metadata): TrainingSummary {
  const first = (keys: readonly string[]): string | undefined =>
    keys.map((key) => metadata[key]).find((value) => value !== undefined && value !== "" && value !== "None");
  const info = parseRecord(metadata.training_info);
  const settings = shown.flatMap(([name, keys]) => {
    const value = first(keys);
    return value === undefined ? [] : [[name, tidy(value, name !== "seed")] as const];
  });
  const step = typeof info.step === "number" && !metadata.ss_steps ? [["steps", String(info.step)] as const] : [];
  const tags = countTags(metadata.ss_tag_frequency);
  return {
    title: first(["modelspec.title", "ss_output_name"]),
    trigger: first(["modelspec.trigger_phrase"]),
    tags,
    base: first(["ss_sd_model_name"]),
    settings: [...step, ...settings],
    fields: Object.keys(metadata).length,
  };
}

/** Numbers as people write them; Python's long module names without the module. */
function tidy(value: string, grouped: boolean): string {
  const integer = grouped && /^\d{4,}$/.test(value) ? Number(value).toLocaleString("en") : value;
  return integer.replace(/^(?:[\w]+\.)+([A-Z]\w+)/, "$1").replace(/^\((\d+), (\d+)\)$/, "$1 x $2");
}

/** Over all folders. */
function countTags(text: string | undefined): readonly (readonly [string, number])[] {
  const sums = new Map<string, number>();
  for (const folder of Object.values(parseRecord(text))) {
    if (typeof folder !== "object" || folder === null) continue;
    for (const [tag, count] of Object.entries(folder)) {
      if (typeof count === "number") sums.set(tag.trim(), (sums.get(tag.trim()) ?? 0) + count);
    }
  }
  return [...sums].sort(([, a], [, b]) => b - a);
}

function parseRecord(text: string | undefined): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(text ?? "{}");
    return typeof json === "object" && json !== null ? (json as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
