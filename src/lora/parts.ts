/** What the shapes of a module's parts tell of its layer. */
import type { AdapterForm, PartName } from "./keys.ts";

type Shapes = Readonly<Partial<Record<PartName, { readonly shape: readonly number[] }>>>;

/** The inner width of the factors; undefined where there is none. */
export function rankOf(form: AdapterForm, parts: Shapes): number | undefined {
  if (form === "lora") return parts.down?.shape[0] ?? parts.up?.shape[1];
  if (form === "loha") return parts.w1b?.shape[0];
  // As ComfyUI has it: the second pair decides where both are factored. Whole factors know no rank, and their alpha means nothing.
  return form === "lokr" ? (parts.w2b?.shape[0] ?? parts.w1b?.shape[0]) : undefined;
}

/** The shape of the layer's weight, by the parts alone. A kernel that they hold flattened stays so: [out, in * kh * kw]. */
export function guessShape(form: AdapterForm, parts: Shapes): readonly number[] {
  const at = (part: PartName, axis: number): number => parts[part]?.shape[axis] ?? 0;
  const tail = (part: PartName, axis: number): readonly number[] => parts[part]?.shape.slice(axis) ?? [];
  if (form === "lora") {
    const kernel = parts.mid ? tail("mid", 2) : tail("down", 2);
    return [at("up", 0), at("down", 1), ...kernel];
  }
  if (form === "loha") return parts.t1 ? [at("w1a", 1), at("w1b", 1), ...tail("t1", 2)] : [at("w1a", 0), ...tail("w1b", 1)];
  if (form === "lokr") {
    const first = parts.w1 ? tail("w1", 0) : [at("w1a", 0), at("w1b", 1)];
    const second = parts.w2
      ? tail("w2", 0)
      : parts.t2
        ? [at("w2a", 1), at("w2b", 1), ...tail("t2", 2)]
        : [at("w2a", 0), ...tail("w2b", 1)];
    return [(first[0] ?? 0) * (second[0] ?? 0), (first[1] ?? 0) * (second[1] ?? 0), ...second.slice(2)];
  }
  return tail(parts.diff ? "diff" : "diffBias", 0);
}

/** What a module needs and does not have; undefined when it is whole. */
export function findMissingPart(form: AdapterForm, parts: Shapes): PartName | undefined {
  const pair = (whole: "w1" | "w2"): readonly PartName[] => (parts[whole] ? [] : [`${whole}a`, `${whole}b`]);
  const needed: { readonly [F in AdapterForm]: readonly PartName[] } = {
    lora: ["down", "up"],
    loha: ["w1a", "w1b", "w2a", "w2b", ...(parts.t1 || parts.t2 ? (["t1", "t2"] as const) : [])],
    lokr: [...pair("w1"), ...pair("w2")],
    full: parts.diffBias ? [] : ["diff"],
  };
  return needed[form].find((part) => !parts[part]);
}

/** Whether two shapes are of one layer: the same outputs, and as many numbers for each, however the kernel is folded. */
export function sameLayer(a: readonly number[], b: readonly number[]): boolean {
  const width = (shape: readonly number[]): number => shape.slice(1).reduce((product, size) => product * size, 1);
  return a[0] === b[0] && width(a) === width(b);
}
