/** Doctor's report as text: the verdict, what is in the way with its mend, then what was found. */
import { formatBytes } from "../bytes.ts";
import { type DoctorReport, type ExaminedEngine, flopRate, isRight, megabytesPerSecond, shortenHome } from "../index.ts";
import { countOf } from "../words.ts";
import { wrapText } from "./format.ts";

export interface DoctorPageOptions {
  readonly columns: number;
  readonly isColoured: boolean;
  /** Shown as "~"; "" where that is done already. */
  readonly home: string;
}

type Mark = "ok" | "mind" | "broken" | "none";
type Facts = DoctorReport["facts"];
interface Row {
  readonly mark: Mark;
  readonly label: string;
  readonly text: string;
}

const marks: Readonly<Record<Mark, string>> = { ok: "ok", mind: "MIND", broken: "BROKEN", none: "" };
const colours: Readonly<Record<Mark, string>> = { ok: "32", mind: "33", broken: "31", none: "0" };
const MARK = 8;
const LABEL = 12;
/** Narrower windows than this leave no room for the words of a row. */
const LEAST_COLUMNS = 40;

/** The page, without a line end. */
export function describeDoctor(report: DoctorReport, { columns, isColoured, home }: DoctorPageOptions): string {
  const width = Math.max(columns, LEAST_COLUMNS);
  const paint = (text: string, code: string): string => (isColoured ? `\u001b[${code}m${text}\u001b[0m` : text);
  const markOf = (mark: Mark): string => paint(marks[mark].padEnd(MARK), colours[mark]);
  const rowLine = ({ mark, label, text }: Row): string =>
    `${markOf(mark)}${label.padEnd(LABEL)}${wrapText(text, width, MARK + LABEL)}`;
  const { verdict, findings } = report;
  const lines = [
    paint(wrapText(verdict.headline, width), verdict.canTrain ? "1;32" : "1;31"),
    wrapText(verdict.outlook, width),
    "",
    ...findings.flatMap(({ mark, message, mend, id }) => [
      `${markOf(mark)}${wrapText(`${message}  [${id}]`, width, MARK)}`,
      `${" ".repeat(MARK)}${wrapText(`Mend: ${mend}`, width, MARK)}`,
      "",
    ]),
    ...(findings.length === 0 ? ["Nothing is in the way.", ""] : []),
    ...machineRows(report).map(rowLine),
    "",
    ...engineRows(report.facts).map(rowLine),
  ];
  return lines.map((line) => (home === "" ? line : shortenHome(line, home))).join("\n");
}

/** The worst of what was found about it. */
function worst(report: DoctorReport, area: string): Mark {
  const found = report.findings.filter((finding) => finding.area === area);
  if (found.some(({ mark }) => mark === "broken")) return "broken";
  return found.length > 0 ? "mind" : "ok";
}

function machineRows(report: DoctorReport): readonly Row[] {
  const { system, processor, memory, version } = report.facts;
  const inside = [
    ...(system.container === null ? [] : [system.container]),
    ...(system.wsl === null ? [] : [`WSL ${system.wsl}`]),
  ];
  const where = inside.length === 0 ? "" : `, in ${inside.join(", ")}`;
  const instructions =
    processor.instructions === null ? "" : `, ${processor.instructions.join(", ") || "no vector instructions known"}`;
  const limit = memory.limitBytes === null ? "" : `, limited to ${formatBytes(memory.limitBytes)}`;
  return [
    {
      mark: worst(report, "system"),
      label: "system",
      text: `${system.name}, kernel ${system.kernel}, ${system.arch}${where}; Node ${system.node}, Gesso ${version}`,
    },
    {
      mark: "none",
      label: "processor",
      text: `${processor.model}, ${processor.usable} of ${countOf(processor.logical, "thread")}${instructions}`,
    },
    {
      mark: worst(report, "memory"),
      label: "memory",
      text: `${formatBytes(memory.totalBytes)}${limit}, ${formatBytes(memory.availableBytes)} free`,
    },
    ...diskRows(report),
    { ...cardRow(report.facts), mark: worst(report, "card") },
    ...pythonRows(report),
  ];
}

function diskRows(report: DoctorReport): readonly Row[] {
  const names = { runs: "runs", caches: "caches", torch: "PyTorch" } as const;
  return report.facts.disks.map(({ role, path, freeBytes, writeBytesPerSecond, readBytesPerSecond, problem }, i) => {
    const speeds = [
      ...(writeBytesPerSecond === null ? [] : [`writes ${megabytesPerSecond(writeBytesPerSecond)}`]),
      ...(readBytesPerSecond === null ? [] : [`reads ${megabytesPerSecond(readBytesPerSecond)}`]),
      ...(problem === null ? [] : [`cannot be written: ${problem}`]),
    ];
    const free = freeBytes === null ? [] : [`${formatBytes(freeBytes)} free`];
    const text = `${names[role]} in ${asFolder(path)}: ${[...free, ...speeds].join(", ")}`;
    const found = report.findings.filter(({ id }) => id.startsWith("disk-") && id.endsWith(`-${role}`));
    const mark = found.some((finding) => finding.mark === "broken") ? "broken" : found.length > 0 ? "mind" : "ok";
    return { mark, label: i === 0 ? "disk" : "", text };
  });
}

/** "runs" alone would read as a word. */
function asFolder(path: string): string {
  return /^\w+$/.test(path) ? `./${path}` : path;
}

function cardRow({ gpu }: Facts): Omit<Row, "mark"> {
  const nvidia = gpu.nvidia.status === "ok" ? gpu.nvidia.value : undefined;
  const amd = gpu.amd.status === "ok" ? gpu.amd.value : undefined;
  const cards = [
    ...(nvidia?.gpus ?? []).map(({ name, memoryBytes, usedBytes, capability }) => {
      const code = capability === null ? "" : `, compute capability ${capability}`;
      return `${name}: ${formatBytes(memoryBytes)}, ${formatBytes(Math.max(0, memoryBytes - usedBytes))} free${code}`;
    }),
    ...(amd?.gpus ?? []).map(({ name, memoryBytes, architecture }) => {
      return [
        name,
        ...(memoryBytes === null ? [] : [formatBytes(memoryBytes)]),
        ...(architecture === null ? [] : [architecture]),
      ].join(", ");
    }),
  ];
  const driver = nvidia ? `; driver ${nvidia.driver}${nvidia.cuda === null ? "" : ` (up to CUDA ${nvidia.cuda})`}` : "";
  const others = gpu.adapters.map(({ vendor, name }) => name ?? `one of ${vendor === "other" ? "an unknown maker" : vendor}`);
  const vulkan = gpu.vulkan.status === "ok" && gpu.vulkan.value.length > 0 ? `; Vulkan: ${gpu.vulkan.value.join(", ")}` : "";
  const known = cards.length > 0 ? cards : others;
  return { label: "cards", text: `${known.join("; ") || "none found"}${driver}${vulkan}` };
}

function pythonRows(report: DoctorReport): readonly Row[] {
  const { pythons } = report.facts;
  if (pythons.length === 0) return [{ mark: "none", label: "python", text: "none found; only the torch engine needs one" }];
  return pythons.map(({ path, origin, answer, torch }, i) => {
    const label = i === 0 ? "python" : "";
    const aside = origin === "search path" ? " (only used with --engine torch)" : "";
    if (answer.status !== "ok")
      return { mark: origin === "search path" ? "none" : "broken", label, text: `${path}: does not start${aside}` };
    const built =
      torch?.status === "ok"
        ? describeBuild(torch.info)
        : torch === null
          ? "no PyTorch"
          : `PyTorch ${answer.value.torch} does not work`;
    const mark = torch === null ? "none" : torch.status === "ok" ? "ok" : origin === "search path" ? "mind" : "broken";
    return { mark, label, text: `${path}: Python ${answer.value.version}, ${built}${aside}` };
  });
}

function describeBuild({ torch, name, build }: Extract<Facts["pythons"][number]["torch"], { status: "ok" }>["info"]): string {
  const made = build.cuda === null ? (build.hip === null ? "" : ` for ROCm ${build.hip}`) : ` for CUDA ${build.cuda}`;
  return `PyTorch ${torch}${made}, on ${name ?? "the processor"}`;
}

function engineRows({ engines, choice }: Facts): readonly Row[] {
  return [
    ...engines.map((engine): Row => ({ ...describeEngine(engine), label: engine.engine })),
    {
      mark: "none",
      label: "chosen",
      text: `--engine auto takes ${choice.engine}: ${choice.reason}; ${choice.precision}, ${choice.precisionReason}`,
    },
  ];
}

function describeEngine(engine: ExaminedEngine): Omit<Row, "label"> {
  if ("problem" in engine) return { mark: "broken", text: engine.problem };
  const { matmul, attention, precision } = engine.check;
  const right = isRight(matmul) && isRight(attention);
  const error = Math.max(matmul.worstError, attention.worstError).toExponential(0);
  const held = right ? `both right (to ${error})` : `WRONG (off by ${error})`;
  const text = `${engine.name}, ${precision}: ${matmul.what} ${flopRate(matmul.flopsPerSecond)}, ${attention.what} ${flopRate(attention.flopsPerSecond)}; ${held}`;
  return { mark: right ? "ok" : "broken", text };
}
