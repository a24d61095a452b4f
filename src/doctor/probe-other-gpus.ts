/** Cards that are not NVIDIA's, and those that only the bus or the system knows of. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import type { Adapter, AmdFacts, DeviceNodes, Outcome } from "./facts.ts";
import { runTool, type ToolOptions } from "./run-tool.ts";

/** AMD's cards, by rocm-smi of ROCm. */
export async function probeAmd(options: ToolOptions): Promise<Outcome<AmdFacts>> {
  const args = ["--showproductname", "--showmeminfo", "vram", "--showdriverversion", "--json"];
  let asked = await runTool("rocm-smi", args, options);
  if (asked.status === "absent" && existsSync("/opt/rocm/bin/rocm-smi")) {
    asked = await runTool("/opt/rocm/bin/rocm-smi", args, options);
  }
  return asked.status === "ok" ? parseAmd(asked.value) : asked;
}

/** Its keys have changed their letters' case over the versions. */
export function parseAmd(json: string): Outcome<AmdFacts> {
  const start = json.indexOf("{");
  try {
    const cards = JSON.parse(json.slice(Math.max(0, start))) as Record<string, Record<string, string>>;
    const lowered = Object.entries(cards).map(([name, fields]): readonly [string, Record<string, string>] => [
      name,
      Object.fromEntries(Object.entries(fields).map(([key, value]) => [key.toLowerCase(), value])),
    ]);
    const gpus = lowered.filter(([name]) => /^card\d+$/.test(name)).map(([, fields]) => describeAmd(fields));
    return { status: "ok", value: { driver: Object.fromEntries(lowered).system?.["driver version"] ?? null, gpus } };
  } catch {
    return { status: "failed", said: `rocm-smi printed no JSON: ${json.slice(0, 200)}` };
  }
}

function describeAmd(fields: Readonly<Record<string, string>>): AmdFacts["gpus"][number] {
  const bytes = (key: string): number | null => (/^\d+$/.test(fields[key] ?? "") ? Number(fields[key]) : null);
  const names = [fields["card series"], fields["card model"], fields["market name"]];
  return {
    name: names.find((name) => name !== undefined && !/^(n\/a|0x[0-9a-f]+)$/i.test(name)) ?? "AMD card",
    memoryBytes: bytes("vram total memory (b)"),
    usedBytes: bytes("vram total used memory (b)"),
    architecture: /gfx[0-9a-f]+/.exec(fields["gfx version"] ?? "")?.[0] ?? null,
  };
}

/** Names of the devices that `vulkaninfo` lists; programs that draw with the processor are left out. */
export async function probeVulkan(options: ToolOptions): Promise<Outcome<readonly string[]>> {
  const asked = await runTool("vulkaninfo", ["--summary"], options);
  return asked.status === "ok" ? { status: "ok", value: parseVulkan(asked.value) } : asked;
}

export function parseVulkan(summary: string): readonly string[] {
  const devices = summary.split(/^GPU\d+:/m).slice(1);
  return devices.flatMap((text) => {
    const name = /deviceName\s*=\s*(.+)/.exec(text)?.[1]?.trim();
    return name === undefined || /DEVICE_TYPE_CPU/.test(text) ? [] : [name];
  });
}

const vendors: Readonly<Record<string, Adapter["vendor"]>> = { "0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel" };

/** Display adapters and accelerators, whether or not a driver runs them. */
export async function probeAdapters(platform: NodeJS.Platform, options: ToolOptions): Promise<readonly Adapter[]> {
  if (platform === "linux") return readPciAdapters("/sys/bus/pci/devices");
  if (platform === "darwin") {
    const asked = await runTool("system_profiler", ["SPDisplaysDataType", "-json"], options);
    return asked.status === "ok" ? parseAppleAdapters(asked.value) : [];
  }
  if (platform !== "win32") return [];
  const script = "Get-CimInstance Win32_VideoController | ForEach-Object { $_.Name }";
  const asked = await runTool("powershell", ["-NoProfile", "-NonInteractive", "-Command", script], options);
  return asked.status === "ok" ? parseAdapterNames(asked.value) : [];
}

/** Class 0x03 is a display, 0x12 an accelerator. */
function readPciAdapters(folder: string): readonly Adapter[] {
  try {
    return readdirSync(folder).flatMap((device): Adapter[] => {
      const read = (name: string): string => readFileSync(`${folder}/${device}/${name}`, "utf8").trim();
      if (!/^0x(03|12)/.test(read("class"))) return [];
      return [{ vendor: vendors[read("vendor")] ?? "other", name: null }];
    });
  } catch {
    return []; // No PCI bus, as on small boards and in some containers.
  }
}

export function parseAppleAdapters(json: string): readonly Adapter[] {
  try {
    const { SPDisplaysDataType: cards } = JSON.parse(json) as { SPDisplaysDataType?: Record<string, unknown>[] };
    return parseAdapterNames((cards ?? []).map((card) => String(card.sppci_model ?? card._name)).join("\n"));
  } catch {
    return [];
  }
}

/** One adapter a line, by its name. */
export function parseAdapterNames(lines: string): readonly Adapter[] {
  return lines
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((name) => ({ vendor: vendorOf(name), name }));
}

function vendorOf(name: string): Adapter["vendor"] {
  if (/nvidia|geforce|quadro|tesla/i.test(name)) return "NVIDIA";
  if (/\bamd\b|radeon/i.test(name)) return "AMD";
  if (/apple/i.test(name)) return "Apple";
  return /intel/i.test(name) ? "Intel" : "other";
}

/** What of the drivers' files is there; null on other systems than Linux. */
export function probeNodes(platform: NodeJS.Platform): DeviceNodes | null {
  if (platform !== "linux") return null;
  return {
    nvidia: existsSync("/dev/nvidiactl"),
    kfd: existsSync("/dev/kfd") ? (isUsable("/dev/kfd") ? "usable" : "forbidden") : "absent",
    dxg: existsSync("/dev/dxg"),
    nouveau: existsSync("/sys/module/nouveau"),
  };
}

function isUsable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
