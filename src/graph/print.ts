/** Writes a graph for people to read. */
import { formatType, type Graph, inputsOf, type Node, type Value } from "./graph.ts";

/**
 * One node a line, `%12 = MatMul(%3, unet.x.weight) {transB} : f32[2, 77, 320]`, under headings of phase and place in the model.
 * Inputs stand by their names, constants of one element as numbers, and values are numbered by their order here, so that the text
 * does not depend on what was built and dropped before.
 */
export function printGraph(graph: Graph): string {
  const name = numberValues(graph);
  const lines: string[] = [];
  const inputs = graph.inputs.map(
    ({ attrs }) => `  ${attrs.name} : ${formatType(attrs)}${attrs.kind === "feed" ? " (feed)" : ""}`,
  );
  lines.push(...section("inputs", inputs));
  let heading = "";
  let place = "";
  for (const node of graph.nodes) {
    if (isInline(node)) continue;
    if (node.phase !== heading) {
      lines.push("", `${node.phase}:`);
      [heading, place] = [node.phase, ""];
    }
    const here = `${node.scope}${node.recompute ? " (recomputed)" : ""}`;
    if (here !== place && here) lines.push(`  # ${here}`);
    place = here;
    lines.push(`  ${printNode(node, name)}`);
  }
  const fetches = [...graph.fetches].map(([key, value]) => `  ${key} = ${name(value)}`);
  const updates = [...graph.updates].map(([key, value]) => `  ${key} <- ${name(value)}`);
  lines.push(...section("fetches", fetches), ...section("updates", updates));
  return lines.slice(1).join("\n");
}

/** An empty line, a heading and its lines; nothing when there are none. */
function section(title: string, content: readonly string[]): readonly string[] {
  return content.length > 0 ? ["", `${title}:`, ...content] : [];
}

/** Inputs and numbers are written where they are used. */
function isInline(node: Node): boolean {
  return node.op === "Input" || (node.op === "Constant" && node.attrs.data.length === 1);
}

function numberValues(graph: Graph): (value: Value) => string {
  const names = new Map<Value, string>();
  let count = 0;
  for (const node of graph.nodes) {
    if (node.op === "Input") names.set(node.outputs[0], node.attrs.name);
    else if (node.op === "Constant" && isInline(node)) names.set(node.outputs[0], shortNumber(node.attrs.data[0] ?? 0));
    else for (const output of node.outputs) names.set(output, `%${++count}`);
  }
  return (value) => names.get(value) ?? `(a value of another graph: ${value.node.op})`;
}

function printNode(node: Node, name: (value: Value) => string): string {
  const outputs = node.outputs as readonly Value[];
  const attrs = printAttrs(node);
  const call = `${node.op}(${inputsOf(node).map(name).join(", ")})${attrs && ` {${attrs}}`}`;
  return `${outputs.map(name).join(", ")} = ${call} : ${outputs.map(formatType).join(", ")}`;
}

/** What the printed output type says already. */
const impliedAttrs: ReadonlySet<string> = new Set(["shape", "dtype", "inputShape", "rows"]);

function printAttrs(node: Node): string {
  return Object.entries(node.attrs as Readonly<Record<string, unknown>>)
    .filter(([key, value]) => value !== false && !impliedAttrs.has(key))
    .map(([key, value]) => (value === true ? key : `${key}: ${printAttr(value)}`))
    .join(", ");
}

const longestList = 8;

function printAttr(value: unknown): string {
  if (typeof value === "number") return shortNumber(value);
  if (!Array.isArray(value)) return String(value);
  const shown = value.slice(0, longestList).map(printAttr).join(", ");
  return value.length > longestList ? `[${shown}, ... ${value.length} in all]` : `[${shown}]`;
}

/** At most six digits: enough to tell numbers apart, few enough to read. */
function shortNumber(value: number): string {
  return String(Number(value.toPrecision(6)));
}
