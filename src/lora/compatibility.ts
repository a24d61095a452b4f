/**
 * Where an adapter file will load, by the rules of each program's own loader: one table. Read from the sources of A1111
 * (extensions-builtin/Lora), Forge (sd_forge_lora), ComfyUI (comfy/lora.py), Invoke (model_manager/configs/lora.py) and diffusers 0.42
 * (loaders/lora_conversion_utils.py).
 */
import { namingOf } from "./keys.ts";
import { families } from "./metadata.ts";
import { kohyaName, type NamingBase } from "./names.ts";
import type { OpenedAdapter, OpenedModule } from "./open.ts";

export const programs = ["A1111", "Forge", "ComfyUI", "Invoke", "diffusers"] as const;
export type Program = (typeof programs)[number];

export interface Compatibility {
  readonly program: Program;
  /** `partly`: some of the file has no effect, or the program does not offer it where it belongs. */
  readonly loads: "yes" | "partly" | "no";
  /** The keys or metadata that decide; empty where everything loads. */
  readonly reasons: readonly string[];
}

/** As much of an adapter as loaders look at: what `openAdapter` gives, or what is about to be written. */
export interface AdapterFacts {
  readonly family: OpenedAdapter["family"];
  readonly naming: OpenedAdapter["naming"];
  readonly metadata: Readonly<Record<string, string>>;
  readonly modules: readonly FactModule[];
  readonly unread: readonly { readonly key: string }[];
}

type FactModule = Pick<OpenedModule, "name" | "kind" | "form" | "shape"> & {
  readonly parts: Readonly<Partial<Record<string, { readonly name: string; readonly shape: readonly number[] }>>>;
};

interface Rule {
  readonly program: Program;
  readonly loads: "partly" | "no";
  /** The reason, where the rule applies. */
  readonly find: (facts: AdapterFacts) => string | undefined;
}

/** The modules of which something is true. */
const those = (facts: AdapterFacts, test: (module: FactModule) => boolean): readonly FactModule[] => facts.modules.filter(test);

/** "3 of 40 layers (first: lora_unet_…)". */
function count(found: readonly FactModule[], facts: AdapterFacts): string {
  return `${found.length} of ${facts.modules.length} layers (first: ${found[0]?.name ?? ""})`;
}

const isFlux = ({ family }: AdapterFacts): boolean => family === "flux";
const isKohya = ({ naming }: AdapterFacts): boolean => naming === "kohya-sgm" || naming === "kohya-diffusers";
const isUnet = ({ name }: FactModule): boolean => !/^(lora_te|text_encoder)/.test(name);

const kohyaOnly = (facts: AdapterFacts): string | undefined =>
  isKohya(facts) || facts.naming === "mixed" ? undefined : `it reads Kohya's names ("lora_unet_…") only`;

/** Both kinds of block numbers in one file. */
function mixesBlocks({ modules }: AdapterFacts): boolean {
  const namings = new Set(modules.map(({ name }) => namingOf(name)));
  return namings.has("kohya-sgm") && namings.has("kohya-diffusers");
}

/** ComfyUI and its descendants know a UNet's attention in diffusers' naming as "…attn1.processor.to_q" only, as it was before PEFT. */
function losesPeftAttention(facts: AdapterFacts): string | undefined {
  if (isFlux(facts)) return undefined;
  const lost = those(facts, (module) => namingOf(module.name) === "peft" && /(?<!processor)\.to_(q|k|v|out)/.test(module.name) && isUnet(module)); // prettier-ignore
  return lost.length === 0
    ? undefined
    : `it knows PEFT's names of the UNet's attention not: ${count(lost, facts)} have no effect`;
}

function losesBareNames(facts: AdapterFacts): string | undefined {
  const bare = those(facts, ({ name }) => name.startsWith("base_model.model."));
  return bare.length === 0 || isFlux(facts) ? undefined : `it does not know names that begin with "base_model.model."`;
}

/** By what the file says it was trained on, where it says anything at all. */
function hidesFamily({ family, metadata }: AdapterFacts): string | undefined {
  if (Object.keys(metadata).length === 0) return undefined;
  const version = metadata.ss_base_model_version ?? "";
  const taken = version.startsWith("sdxl_") ? "SDXL" : metadata.ss_v2 === "True" ? "SD 2" : "SD 1";
  const is = family === "sdxl" ? "SDXL" : family === "sd15" ? "SD 1" : undefined;
  if (is === undefined || is === taken) return undefined;
  return `it takes it for ${taken} and hides it beside ${is} models: ss_base_model_version is ${version === "" ? "missing" : `"${version}"`}`;
}

/** Text width of Invoke's families; the width is that of the first cross-attention layer. */
const invokeWidths: Readonly<Record<number, string>> = { 768: "SD 1", 1024: "SD 2", 2048: "SDXL" };

function invokeFamily({ modules, family }: AdapterFacts): string | undefined {
  const cross = modules.find(({ name }) => /_attn2_to_[kv]$/.test(name));
  const width = cross?.shape.slice(1).reduce((product, size) => product * size, 1);
  const is = { sdxl: "SDXL", sd15: "SD 1", flux: undefined, unknown: undefined }[family];
  if (is === undefined) return undefined;
  const isDeep = modules.some(({ name }) => Number(/_transformer_blocks_(\d+)_/.exec(name)?.[1] ?? 0) >= 2);
  const isTextOnly = modules.every((module) => !isUnet(module));
  if (isTextOnly && family === "sdxl") {
    const both = ["lora_te1_", "lora_te2_"].every((prefix) => modules.some(({ name }) => name.startsWith(prefix)));
    return both ? undefined : "nothing in it tells which model it is for: the UNet and one text encoder are missing";
  }
  const taken = width === undefined ? (isDeep ? "SDXL" : isTextOnly ? is : "SD 1") : invokeWidths[width];
  if (taken === is) return undefined;
  if (taken === undefined) return `its cross-attention is ${width} wide, and no model that it knows is`;
  return width === undefined
    ? `it takes it for ${taken}: there is no cross-attention layer (attn2_to_k, attn2_to_v) to tell the width of ${is}`
    : `it takes it for ${taken}: the cross-attention is ${width} wide`;
}

const t5 = (facts: AdapterFacts): readonly FactModule[] => those(facts, ({ name }) => /^lora_te3_|t5xxl/.test(name));

function refusedByKind(facts: AdapterFacts): string | undefined {
  const others = those(facts, ({ form, parts }) => form !== "lora" || parts.mid !== undefined);
  if (others.length === 0) return undefined;
  const kinds = [...new Set(others.map(({ kind, parts }) => (parts.mid ? "LoCon with a middle" : kind)))].join(", ");
  return `it knows plain LoRA and LoCon only, and refuses the file for: ${kinds}`;
}

/** The rules, in the order of `programs`. What no rule touches loads. */
const rules: readonly Rule[] = [
  { program: "A1111", loads: "no", find: (facts) => (isFlux(facts) ? "it has no Flux" : kohyaOnly(facts)) },
  { program: "A1111", loads: "partly", find: hidesFamily },
  { program: "Forge", loads: "partly", find: losesPeftAttention },
  { program: "Forge", loads: "no", find: losesBareNames },
  { program: "ComfyUI", loads: "partly", find: losesPeftAttention },
  { program: "ComfyUI", loads: "no", find: losesBareNames },
  {
    program: "Invoke",
    loads: "no",
    find: (facts) => (isFlux(facts) ? undefined : kohyaOnly(facts)),
  },
  {
    program: "Invoke",
    loads: "no",
    find: (facts) => (mixesBlocks(facts) ? "SGM and diffusers block numbers are mixed in it" : undefined),
  },
  { program: "Invoke", loads: "no", find: (facts) => (isKohya(facts) ? invokeFamily(facts) : undefined) },
  {
    program: "Invoke",
    loads: "no",
    find: (facts) => {
      const odd = those(facts, ({ name }) => /^lora_te3_|^lora_unet_(img_in|txt_in|vector_in|time_in|guidance_in)/.test(name));
      return isFlux(facts) && odd.length > 0
        ? `it knows no ${odd[0]?.name ?? ""} in a Flux LoRA, and then none of it`
        : undefined;
    },
  },
  {
    program: "Invoke",
    loads: "no",
    find: (facts) => {
      if (!isFlux(facts) || facts.naming !== "peft") return undefined;
      const needed = ["single_transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.add_q_proj"];
      const missing = needed.find((end) => !facts.modules.some(({ name }) => name.endsWith(`.${end}`) || name === end));
      return missing === undefined ? undefined : `it knows a Flux LoRA by ${missing}, which is missing`;
    },
  },
  {
    program: "Invoke",
    loads: "no",
    find: (facts) => {
      const { software } = facts.metadata;
      const isForeign = software !== undefined && !software.includes("ai-toolkit");
      return isFlux(facts) && facts.naming === "native" && isForeign ? "these names are read from ai-toolkit only" : undefined;
    },
  },
  {
    program: "diffusers",
    loads: "no",
    find: (facts) =>
      facts.naming === "lycoris" || facts.naming === "native"
        ? `it does not know names such as ${facts.modules[0]?.name ?? ""}`
        : undefined,
  },
  { program: "diffusers", loads: "no", find: refusedByKind },
  {
    program: "diffusers",
    loads: "partly",
    find: (facts) => {
      const dora = those(facts, ({ parts }) => parts.doraScale?.name.endsWith(".dora_scale") === true);
      return dora.length === 0 ? undefined : `it leaves DoRA's magnitudes out: ${count(dora, facts)} act as plain LoRA`;
    },
  },
  {
    program: "diffusers",
    loads: "partly",
    find: (facts) => (mixesBlocks(facts) ? "block numbers are mixed: it drops the layers in SGM blocks" : undefined),
  },
  {
    program: "diffusers",
    loads: "partly",
    find: (facts) => (t5(facts).length > 0 ? `it drops the T5 text encoder: ${count(t5(facts), facts)}` : undefined),
  },
];

/**
 * Whether each program loads a file, and what decides.
 *
 * @example checkCompatibility(await openAdapter("mystyle.safetensors"));
 */
export function checkCompatibility(facts: AdapterFacts): readonly Compatibility[] {
  const unread = facts.unread.length > 0 ? [`${facts.unread.length} keys that Gesso does not know (first: ${facts.unread[0]?.key ?? ""})`] : []; // prettier-ignore
  return programs.map((program) => {
    const hits = rules.flatMap(({ loads, find, ...rule }) => {
      const reason = rule.program === program ? find(facts) : undefined;
      return reason === undefined ? [] : [{ loads, reason }];
    });
    const isRefused = hits.some(({ loads }) => loads === "no");
    const decisive = hits.filter(({ loads }) => !isRefused || loads === "no").map(({ reason }) => reason);
    const reasons = isRefused ? decisive : [...decisive, ...unread];
    return { program, loads: isRefused ? "no" : reasons.length > 0 ? "partly" : "yes", reasons };
  });
}

/** Text widths of the published models: an adapter of another is for that model alone, wherever it is. */
const publishedWidths: { readonly [F in NamingBase["family"]]: number } = { sd15: 768, sdxl: 2048 };

/**
 * What Gesso's own file with adapters on these layers would not load as a whole in, one sentence for each program; nothing for bases that are
 * not of SD 1.5's or SDXL's size, for no other program has them.
 */
export function describeHalfLoads(
  layers: readonly { readonly path: string; readonly weightShape: readonly number[] }[],
  base: NamingBase & { readonly unet: { readonly crossAttentionDim: number } },
): readonly string[] {
  if (base.unet.crossAttentionDim !== publishedWidths[base.family]) return [];
  const modules = layers.map(({ path, weightShape }) => {
    return { name: kohyaName(path, base), kind: "lora", form: "lora", shape: weightShape, parts: {} } as const;
  });
  const naming = base.family === "sdxl" ? "kohya-sgm" : "kohya-diffusers";
  const metadata = { ss_base_model_version: families[base.family].version, ss_v2: "False" };
  const loads = checkCompatibility({ family: base.family, naming, metadata, modules, unread: [] });
  return loads.flatMap(({ program, loads: verdict, reasons }) =>
    verdict === "yes"
      ? []
      : [`${program} will ${verdict === "no" ? "not load" : "load only a part of"} this adapter: ${reasons.join("; ")}.`],
  );
}
