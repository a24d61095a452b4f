/** What an adapter made from other adapters says of itself: what its sources agree on, and its own size, hashes and origin. */
import type { AdapterFields } from "./draft.ts";
import { families, type NetworkSize } from "./metadata.ts";
import type { AdapterFamily } from "./names.ts";

export interface MetadataSource {
  /** Of the file, without its ending. */
  readonly name: string;
  /** "x 0.8"; undefined where it was taken as it is. */
  readonly strength: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface Inheritance {
  /** What the new adapter is called. */
  readonly name: string;
  readonly sources: readonly MetadataSource[];
  /** Undefined where only the sources' own words tell. */
  readonly family: AdapterFamily | undefined;
  readonly size: NetworkSize;
  /** What was done, in a sentence: `ss_training_comment`. */
  readonly comment: string;
  /** Of Gesso. */
  readonly version: string;
}

/** What the published model of a family was made for: ModelSpec wants a resolution in any case. */
const resolutions: { readonly [F in AdapterFamily]: string } = { sd15: "512x512", sdxl: "1024x1024" };

/** Fields that are about the file they stand in, or about names and alphas that the new file does not have. */
const ownFields =
  /^(sshs_|lora_adapter_metadata$|format$|ss_(output_name|network_(dim|alpha|args|module|dropout)|training_comment)$|modelspec\.(hash_sha256|title|date|merged_from|trigger_phrase|thumbnail)$)/;

/**
 * The metadata of an adapter that was made from others. A field that sources say differently is left out, except the tag cloud and the
 * trigger words, which add up. There is no date: the same sources give the same bytes.
 */
export function inheritFields({ name, sources, family, size, comment, version }: Inheritance): AdapterFields {
  const known = family && families[family];
  const inherited = agreed(sources.map(({ metadata }) => metadata));
  const conv = size.conv && { conv_dim: String(size.conv.rank), conv_alpha: String(size.conv.alpha) };
  const network = size.linear ?? size.conv;
  const tags = addTags(sources.flatMap(({ metadata }) => metadata.ss_tag_frequency ?? []));
  const isFlux = /^flux/.test(inherited.ss_base_model_version ?? "");
  const training: Record<string, string> = {
    ...(known ? { ss_base_model_version: known.version } : {}),
    ss_v2: "False",
    ...pick(inherited, (key) => key.startsWith("ss_")),
    ss_network_module: isFlux ? "networks.lora_flux" : "networks.lora",
    ss_network_dim: String(network?.rank),
    ss_network_alpha: String(network?.alpha),
    ss_network_args: JSON.stringify(conv ?? {}),
    ss_output_name: name,
    ss_training_comment: comment,
    ...(tags ? { ss_tag_frequency: tags } : {}),
  };
  const triggers = [...new Set(sources.flatMap(({ metadata }) => metadata["modelspec.trigger_phrase"] ?? []))];
  const others = {
    ...(known ? { "modelspec.architecture": known.architecture, "modelspec.implementation": known.implementation } : {}),
    ...(family ? { "modelspec.resolution": resolutions[family] } : {}),
    ...pick(inherited, (key) => !key.startsWith("ss_")),
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.implementation_version": `gesso/${version}`,
    "modelspec.title": name,
    ...(triggers.length > 0 ? { "modelspec.trigger_phrase": triggers.join(", ") } : {}),
    "modelspec.merged_from": sources
      .map(({ name: source, strength }) => [source, strength].filter(Boolean).join(" "))
      .join(", "),
  };
  return { training, others: (hash) => ({ ...others, "modelspec.hash_sha256": `0x${hash}` }) };
}

/** The fields that all sources have alike, and that may be passed on. */
function agreed([first = {}, ...rest]: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  return pick(first, (key, value) => !ownFields.test(key) && rest.every((metadata) => metadata[key] === value));
}

function pick(
  fields: Readonly<Record<string, string>>,
  wanted: (key: string, value: string) => boolean,
): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([key, value]) => wanted(key, value)));
}

/** Tag clouds added up: {"folder": {"tag": n}}. One that cannot be read counts nothing. */
function addTags(clouds: readonly string[]): string | undefined {
  const sums: Record<string, Record<string, number>> = {};
  for (const cloud of clouds) {
    for (const [folder, tags] of Object.entries(parseRecord(cloud))) {
      const counts = (sums[folder] ??= {});
      for (const [tag, count] of Object.entries(typeof tags === "object" && tags !== null ? tags : {})) {
        if (typeof count === "number") counts[tag] = (counts[tag] ?? 0) + count;
      }
    }
  }
  return Object.keys(sums).length > 0 ? JSON.stringify(sums) : undefined;
}

function parseRecord(text: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null ? (json as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
