/** Where the planner's numbers come from, in the words that plan.json and pages show. */

/** Every value of a plan names one or more of these, or of `heuristic`'s. */
export const sources = {
  user: "you",
  dataset: "the dataset",
  base: "the base model",
  device: "this machine",
  gesso: "how Gesso works",
  measured: "measured on Gesso's examples",
  doctor: "gesso doctor",
  kohya: "kohya sd-scripts docs",
  oneTrainer: "OneTrainer presets",
  civitai: "Civitai's trainer",
  holo: "HoloStrawberry colab",
  holoXl: "HoloStrawberry XL colab",
  loraScripts: "lora-scripts defaults",
  lycoris: "LyCORIS guidelines",
  demystifying: "demystifying-sd-finetuning's logs",
  simpleTuner: "SimpleTuner docs",
  seaArt: "SeaArt's guide",
  illustriousGuide: "a Civitai guide (article 9148)",
  pytorch: "PyTorch's default",
  diffusers: "diffusers' default",
  prodigy: "Prodigy's own advice",
  minSnr: "Hang et al. 2023",
  zeroSnr: "Lin et al. 2023",
  checkpointing: "Chen et al. 2016",
} as const;

export type Source = (typeof sources)[keyof typeof sources];

/** The mark of a number that nobody has published or measured. */
export const HEURISTIC = "heuristic";

/** Several sources in one line. @example from("kohya", "civitai") */
export function from(...names: readonly (keyof typeof sources)[]): string {
  return names.map((name) => sources[name]).join(", ");
}

/** Gesso's own choice, with what it leans on, if anything. @example heuristic("civitai") is "heuristic, after Civitai's trainer" */
export function heuristic(...names: readonly (keyof typeof sources)[]): string {
  return names.length === 0 ? HEURISTIC : `${HEURISTIC}, after ${from(...names)}`;
}

/** Whether a source admits to being Gesso's own choice. */
export function isHeuristic(source: string): boolean {
  return source.startsWith(HEURISTIC);
}
