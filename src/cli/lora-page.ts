/** A LoRA file on one page of the terminal. */
import { formatBytes } from "../bytes.ts";
import { basename } from "node:path";
import type { AdapterReport, LayerGroup } from "../index.ts";
import { countOf } from "../words.ts";
import { cut, wrapText } from "./format.ts";

const familyNames: { readonly [F in AdapterReport["family"]]: string } = {
  sd15: "Stable Diffusion 1.5",
  sdxl: "SDXL",
  flux: "Flux",
  unknown: "a model that its keys do not tell",
};

const kindNames: { readonly [K in AdapterReport["kinds"][number]]: string } = {
  lora: "LoRA",
  locon: "LoCon",
  loha: "LoHa",
  lokr: "LoKr",
  dora: "DoRA",
  full: "full change",
};

const namingNames: { readonly [N in AdapterReport["naming"]]: string } = {
  "kohya-sgm": "Kohya's names, original blocks",
  "kohya-diffusers": "Kohya's names, diffusers blocks",
  peft: "PEFT's names (diffusers)",
  lycoris: "LyCORIS' own names",
  native: "the original model's names (ai-toolkit, ComfyUI)",
  mixed: "names of several kinds",
  unknown: "names of no known kind",
};

const dtypeNames: Readonly<Record<string, string>> = { F16: "float16", BF16: "bfloat16", F32: "float32", F64: "float64" };

/** @param columns of the terminal */
export function describeAdapter(report: AdapterReport, columns: number): string {
  const width = Math.min(columns, 100);
  return [
    ...describeFile(report),
    "",
    ...describeGroups("part", report.parts),
    "",
    ...describeBlocks(report.blocks, width),
    ...section(describeTraining(report, width)),
    "",
    ...describeLoading(report, width),
    ...section(describeTrouble(report, width)),
    "",
    ...describeTerms(report, width),
  ].join("\n");
}

const section = (lines: readonly string[]): readonly string[] => (lines.length > 0 ? ["", ...lines] : []);

function describeFile(report: AdapterReport): readonly string[] {
  const kinds = report.kinds.map((kind) => kindNames[kind]).join(", ");
  const size = report.layout === undefined && /^sd/.test(report.family) ? " of another size" : "";
  const dtypes = report.dtypes.map((dtype) => dtypeNames[dtype] ?? dtype).join(", ");
  return [
    `${basename(report.path)}  ${formatBytes(report.bytes)}`,
    `${kinds} for ${familyNames[report.family]}${size}: ${countOf(report.layers, "layer")}, ${dtypes}, ${namingNames[report.naming]}`,
  ];
}

/** A table whose numbers stand under each other. */
function describeGroups(heading: string, groups: readonly LayerGroup[]): readonly string[] {
  const rows = [
    [heading, "layers", "kind", "rank", "alpha", "norm", "effective rank"],
    ...groups.map((group) => [
      group.name,
      group.layers.toLocaleString("en"),
      group.kinds.map((kind) => kindNames[kind]).join(", "),
      range(group.ranks),
      range(group.alphas),
      group.norm === undefined ? "–" : formatNorm(group.norm),
      group.effectiveRank === undefined ? "–" : group.effectiveRank.toFixed(1),
    ]),
  ];
  const isText = [true, false, true, false, false, false, false];
  const widths = isText.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) => {
    const cells = row.map((cell, i) => (isText[i] ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    return `  ${cells.join("   ")}`.trimEnd();
  });
}

/** Bars of the norms, so that one sees where the adapter works. */
function describeBlocks(blocks: readonly LayerGroup[], width: number): readonly string[] {
  const names = Math.max(5, ...blocks.map(({ name }) => name.length));
  const most = Math.max(...blocks.map(({ norm }) => norm ?? 0));
  const room = Math.min(30, width - names - 22);
  return [
    `  ${"block".padEnd(names)}   norm`,
    ...blocks.map(({ name, norm }) => {
      const length = most > 0 ? Math.round(((norm ?? 0) / most) * room) : 0;
      return `  ${name.padEnd(names)}   ${(norm === undefined ? "–" : formatNorm(norm)).padStart(6)}  ${"█".repeat(length)}`.trimEnd();
    }),
  ];
}

function describeTraining({ training }: AdapterReport, width: number): readonly string[] {
  const tags = training.tags.slice(0, 8).map(([tag, count]) => `${tag} (${count})`);
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["trigger", training.trigger],
    ["tags", tags.length > 0 ? tags.join(", ") : undefined],
    ["trained on", training.base],
    [
      "settings",
      training.settings.length > 0 ? training.settings.map(([name, value]) => `${name} ${value}`).join(", ") : undefined,
    ],
  ];
  const lines = rows.flatMap(([name, value]) =>
    value === undefined ? [] : [`  ${name.padEnd(10)}   ${wrapText(cut(value, 3 * width), width, 15)}`],
  );
  return lines.length > 0 ? lines : ["  The file does not say how it was trained."];
}

function describeLoading({ loads }: AdapterReport, width: number): readonly string[] {
  return [
    "  loads in",
    ...loads.map(({ program, loads: verdict, reasons }) => {
      const head = `  ${program.padEnd(10)}   ${verdict.padEnd(6)}`;
      return reasons.length === 0 ? head.trimEnd() : `${head}   ${wrapText(reasons.join("; "), width, 24)}`;
    }),
  ];
}

function describeTrouble(report: AdapterReport, width: number): readonly string[] {
  const { broken, dead, incomplete, unread, needBase } = report;
  const first = (names: readonly string[]): string => (names.length > 1 ? `first: ${names[0] ?? ""}` : (names[0] ?? ""));
  const lines = [
    broken.length > 0 ? `${countOf(broken.length, "layer")} with NaN or infinity: the file is broken (${first(broken)}).` : "",
    incomplete.length > 0 ? `${countOf(incomplete.length, "layer")} not whole: ${incomplete[0]?.reason ?? ""}` : "",
    dead.length > 0 ? `${countOf(dead.length, "layer")} without effect, all zeros (${first(dead)}).` : "",
    unread.length > 0
      ? `${countOf(unread.length, "key")} not read (${first(unread.map(({ key, what }) => (what ? `${key}, ${what}` : key)))}).`
      : "",
    needBase > 0
      ? `${countOf(needBase, "layer")} not measured: what a DoRA changes depends on the base model. Name it: --base.`
      : "",
  ];
  return lines.filter((line) => line !== "").map((line) => `  ${wrapText(line, width, 2)}`);
}

function describeTerms({ parts }: AdapterReport, width: number): readonly string[] {
  const terms = [
    "Norm: the root of the sum of squares of what is added to the weights.",
    parts.some(({ effectiveRank }) => effectiveRank !== undefined)
      ? "Effective rank: how many directions a layer's change uses, exp of the entropy of its singular values; the mean over layers."
      : "",
  ];
  return [`  ${wrapText(terms.filter((term) => term !== "").join(" "), width, 2)}`];
}

/** "8", or "4 to 32". */
function range(values: readonly number[]): string {
  const [first] = values;
  const last = values.at(-1);
  if (first === undefined || last === undefined) return "–";
  return first === last ? formatNumber(first) : `${formatNumber(first)} to ${formatNumber(last)}`;
}

function formatNumber(value: number): string {
  return Number(value.toPrecision(4)).toString();
}

function formatNorm(value: number): string {
  return value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toPrecision(3);
}
