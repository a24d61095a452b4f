/** Alphas of PEFT files: they lie in no tensor, but in diffusers' `lora_adapter_metadata`, where that was written. */

/**
 * The alpha of a module by the file's own LoraConfig: `<component>.lora_alpha`, or the module's in `<component>.alpha_pattern`; with rank-stabilised
 * scaling (`use_rslora`, Kalajdzievski 2023: alpha / sqrt(rank)) the alpha that gives the same scale. Undefined where the file says nothing.
 */
export function peftAlpha(
  metadata: Readonly<Record<string, string>>,
  module: string,
  rank: number | undefined,
): number | undefined {
  const config = parseRecord(metadata.lora_adapter_metadata);
  if (!config || rank === undefined) return undefined;
  const component = module.slice(0, module.indexOf("."));
  const alpha = findPattern(config[`${component}.alpha_pattern`], module) ?? config[`${component}.lora_alpha`];
  if (typeof alpha !== "number") return undefined;
  return config[`${component}.use_rslora`] === true ? alpha * Math.sqrt(rank) : alpha;
}

/** PEFT's patterns are the ends of paths. */
function findPattern(patterns: unknown, module: string): unknown {
  if (typeof patterns !== "object" || patterns === null) return undefined;
  const hit = Object.entries(patterns).find(([pattern]) => module === pattern || module.endsWith(`.${pattern}`));
  return hit?.[1];
}

function parseRecord(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (text === undefined) return undefined;
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null ? (json as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}
