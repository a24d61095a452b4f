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

/**
 * The LoraConfig of each component as diffusers stores it, for files whose scale is 1 throughout: alpha is the rank, in general and where a
 * layer's own rank differs.
 */
export function peftMetadata(
  modules: readonly { readonly path: string; readonly rank: number | undefined; readonly kind: string }[],
): string {
  const config: Record<string, unknown> = {};
  for (const component of new Set(modules.map(({ path }) => path.slice(0, path.indexOf("."))))) {
    const own = modules.filter(({ path }) => path.startsWith(`${component}.`));
    const rank = mostFrequent(own.map((module) => module.rank ?? 1));
    const others = own.filter((module) => module.rank !== rank);
    const pattern = Object.fromEntries(others.map((module) => [module.path.slice(component.length + 1), module.rank ?? 1]));
    const fields = {
      r: rank,
      lora_alpha: rank,
      rank_pattern: pattern,
      alpha_pattern: pattern,
      target_modules: own.map(({ path }) => path.slice(component.length + 1)).sort(),
      use_dora: own.some(({ kind }) => kind === "dora"),
      use_rslora: false,
      lora_bias: false,
      bias: "none",
      peft_type: "LORA",
    };
    for (const [key, value] of Object.entries(fields)) config[`${component}.${key}`] = value;
  }
  return JSON.stringify(config);
}

function mostFrequent(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || b - a)[0]?.[0] ?? 1;
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
