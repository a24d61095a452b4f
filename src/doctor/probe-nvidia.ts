/** NVIDIA's cards, by nvidia-smi, which comes with the driver. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { GpuProcess, NvidiaFacts, NvidiaGpu, Outcome } from "./facts.ts";
import { oneLine, runTool, type ToolOptions } from "./run-tool.ts";

/** Where it lies when it is not on the search path: in WSL, and on Windows of old drivers. */
const otherPlaces = ["/usr/lib/wsl/lib/nvidia-smi", "C:\\Program Files\\NVIDIA Corporation\\NVSMI\\nvidia-smi.exe"];
const fields = ["driver_version", "name", "memory.total", "memory.used"];

/** Within `options.timeoutMs` for each question; a card that is stuck makes it hang. */
export async function probeNvidia(options: ToolOptions): Promise<Outcome<NvidiaFacts>> {
  const asked = await ask("nvidia-smi", options);
  const other = asked.status === "absent" ? otherPlaces.find((place) => existsSync(place)) : undefined;
  return other === undefined ? asked : ask(other, options);
}

async function ask(tool: string, options: ToolOptions): Promise<Outcome<NvidiaFacts>> {
  const query = (names: readonly string[]): Promise<Outcome<string>> =>
    runTool(tool, [`--query-gpu=${names.join(",")}`, "--format=csv,noheader,nounits"], options);
  let gpus = await query([...fields, "compute_cap"]);
  // Drivers before 2021 do not know the last field.
  if (gpus.status === "failed" && /not a valid field/i.test(gpus.said)) gpus = await query(fields);
  if (gpus.status !== "ok") return gpus;
  const [overview, processes] = await Promise.all([
    runTool(tool, [], options),
    runTool(tool, ["--query-compute-apps=process_name,used_memory", "--format=csv,noheader,nounits"], options),
  ]);
  return parseNvidia(gpus.value, textOf(overview), textOf(processes));
}

const textOf = (outcome: Outcome<string>): string => (outcome.status === "ok" ? outcome.value : "");

/** @param gpus one line a card of `fields` and perhaps its capability; `overview` is what nvidia-smi prints by itself */
export function parseNvidia(gpus: string, overview: string, processes: string): Outcome<NvidiaFacts> {
  const rows = gpus.split("\n").filter((line) => line.includes(","));
  const cards = rows.map(parseGpu);
  const driver = rows[0]?.split(",")[0]?.trim();
  if (driver === undefined || !/^\d/.test(driver)) return { status: "failed", said: oneLine(gpus) || "No devices were found" };
  const cuda = /CUDA (?:UMD )?Version:\s*(\d+\.\d+)/.exec(overview)?.[1] ?? null;
  return { status: "ok", value: { driver, cuda, gpus: cards, processes: processes.split("\n").flatMap(parseProcess) } };
}

function parseGpu(line: string): NvidiaGpu {
  const [, name = "?", total = "", used = "", capability] = line.split(",").map((field) => field.trim());
  return {
    name,
    memoryBytes: mebibytes(total) ?? 0,
    usedBytes: mebibytes(used) ?? 0,
    capability: capability !== undefined && /^\d+\.\d+$/.test(capability) ? capability : null,
  };
}

function parseProcess(line: string): GpuProcess[] {
  const comma = line.lastIndexOf(",");
  if (comma < 0) return [];
  const name = line.slice(0, comma).trim();
  // Folders are private, and a Windows path may be told on any system (WSL).
  return [{ name: path.win32.basename(path.posix.basename(name)), memoryBytes: mebibytes(line.slice(comma + 1)) }];
}

function mebibytes(text: string): number | null {
  const number = Number(text.trim());
  return text.trim() !== "" && Number.isFinite(number) ? number * 2 ** 20 : null;
}
