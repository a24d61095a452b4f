/** The samplers by the names that other programs use, and running one. */
import { findNearest, UserError } from "../../errors.ts";
import { dpmpp2m } from "./dpmpp-2m.ts";
import { euler } from "./euler.ts";
import { eulerAncestral } from "./euler-ancestral.ts";
import type { Sampler, SamplerStep } from "./sampler.ts";

export const samplerNames = ["euler", "euler_a", "dpmpp_2m"] as const;
export type SamplerName = (typeof samplerNames)[number];

export const samplers: { readonly [K in SamplerName]: Sampler } = {
  euler,
  euler_a: eulerAncestral,
  dpmpp_2m: dpmpp2m,
};

/** @throws UserError for a name that is none of a sampler, with the nearest that is */
export function parseSamplerName(name: string): SamplerName {
  const found = samplerNames.find((known) => known === name);
  if (found) return found;
  const nearest = findNearest(name, samplerNames);
  const choices = `Choose one of ${samplerNames.join(", ")}.`;
  throw new UserError(`There is no sampler ${JSON.stringify(name)}.`, {
    fix: nearest ? `Did you mean ${nearest}? ${choices}` : choices,
    exitCode: 2,
  });
}

/** Runs a sampler to its end. */
export async function finish(
  steps: AsyncGenerator<SamplerStep, Float32Array, undefined>,
  onStep: (step: SamplerStep) => void = () => undefined,
): Promise<Float32Array> {
  for (;;) {
    const result = await steps.next();
    if (result.done) return result.value;
    onStep(result.value);
  }
}
