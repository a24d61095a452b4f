/** What tools print, and what is read from it. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { probeDisk } from "./probe-disk.ts";
import { parseNvidia } from "./probe-nvidia.ts";
import { parseAdapterNames, parseAmd, parseAppleAdapters, parseVulkan } from "./probe-other-gpus.ts";
import { findWsl, parseAvailable, parseFlags, parseOsRelease, probeMemory, probeSystem } from "./probe-system.ts";
import { runTool } from "./run-tool.ts";
import { compareVersions } from "./thresholds.ts";

test("nvidia-smi's answers become cards, driver and programs without their folders", () => {
  const gpus = "550.54.14, NVIDIA GeForce RTX 4090, 24564, 1331, 8.9\n550.54.14, Tesla T4, 15360, 3, 7.5\n";
  const overview = "| NVIDIA-SMI 550.54.14    Driver Version: 550.54.14    CUDA Version: 12.4     |";
  expect(parseNvidia(gpus, overview, "/home/eva/venv/bin/python, 1100\nC:\\Users\\eva\\chrome.exe, [N/A]\n")).toEqual({
    status: "ok",
    value: {
      driver: "550.54.14",
      cuda: "12.4",
      gpus: [
        { name: "NVIDIA GeForce RTX 4090", memoryBytes: 24564 * 2 ** 20, usedBytes: 1331 * 2 ** 20, capability: "8.9" },
        { name: "Tesla T4", memoryBytes: 15360 * 2 ** 20, usedBytes: 3 * 2 ** 20, capability: "7.5" },
      ],
      processes: [
        { name: "python", memoryBytes: 1100 * 2 ** 20 },
        { name: "chrome.exe", memoryBytes: null },
      ],
    },
  });
  expect(parseNvidia("460.32.03, Tesla K80, 11441, 0\n", "", "")).toMatchObject({
    value: { cuda: null, gpus: [{ capability: null }] },
  });
  expect(parseNvidia("No devices were found\n", "", "")).toEqual({ status: "failed", said: "No devices were found" });
});

test("rocm-smi's answers become cards, whatever letters its keys have", () => {
  const json = JSON.stringify({
    card0: {
      "VRAM Total Memory (B)": "25753026560",
      "VRAM Total Used Memory (B)": "27672576",
      "Card Series": "Navi 31 [Radeon RX 7900 XTX]",
      "Card Model": "0x744c",
      "GFX Version": "gfx1100",
    },
    system: { "Driver version": "6.8.5" },
  });
  const card = { name: "Navi 31 [Radeon RX 7900 XTX]", memoryBytes: 25753026560, usedBytes: 27672576, architecture: "gfx1100" };
  expect(parseAmd(`WARNING: low-power state\n${json}`)).toEqual({ status: "ok", value: { driver: "6.8.5", gpus: [card] } });
  expect(parseAmd(json.replace("Card Series", "Card series"))).toMatchObject({ value: { gpus: [{ name: card.name }] } });
  expect(parseAmd("ERROR: no module")).toMatchObject({ status: "failed" });
});

test("adapters are known by their names, on Windows and on a Mac", () => {
  expect(
    parseAdapterNames("NVIDIA GeForce RTX 3080\r\nAMD Radeon(TM) Graphics\r\n\r\nMicrosoft Basic Display Adapter\r\n"),
  ).toEqual([
    { vendor: "NVIDIA", name: "NVIDIA GeForce RTX 3080" },
    { vendor: "AMD", name: "AMD Radeon(TM) Graphics" },
    { vendor: "other", name: "Microsoft Basic Display Adapter" },
  ]);
  const profile = JSON.stringify({ SPDisplaysDataType: [{ _name: "kHW_AppleM2ProItem", sppci_model: "Apple M2 Pro" }] });
  expect(parseAppleAdapters(profile)).toEqual([{ vendor: "Apple", name: "Apple M2 Pro" }]);
});

test("Vulkan's devices are those that are no processor", () => {
  const summary = `Devices:
========
GPU0:
	deviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
	deviceName         = AMD Radeon RX 6800 (RADV NAVI21)
GPU1:
	deviceType         = PHYSICAL_DEVICE_TYPE_CPU
	deviceName         = llvmpipe (LLVM 17.0.6, 256 bits)
`;
  expect(parseVulkan(summary)).toEqual(["AMD Radeon RX 6800 (RADV NAVI21)"]);
});

test("Linux's own files are read", () => {
  expect(parseOsRelease('NAME="Fedora Linux"\nPRETTY_NAME="Fedora Linux 41 (Workstation Edition)"\n')).toBe(
    "Fedora Linux 41 (Workstation Edition)",
  );
  expect(parseFlags("processor : 0\nflags\t\t: fpu avx avx2 avx512f amx_tile\n")).toEqual(["AVX2", "AVX-512", "AMX"]);
  expect(parseFlags("Features\t: fp asimd sve\n")).toEqual(["NEON", "SVE"]);
  expect(parseFlags("")).toBeNull();
  expect(parseAvailable("MemTotal: 1 kB\nMemAvailable:   2048 kB\n")).toBe(2048 * 1024);
  expect([findWsl("5.15.167.4-microsoft-standard-WSL2"), findWsl("4.4.0-19041-Microsoft"), findWsl("6.8.0-generic")]).toEqual([
    2,
    1,
    null,
  ]);
});

test("this machine has a system, memory and a disk that can be written, and nothing is left on it", async () => {
  expect(await probeSystem({ timeoutMs: 5000 })).toMatchObject({ platform: process.platform, node: process.versions.node });
  const { totalBytes, availableBytes } = probeMemory();
  expect(availableBytes).toBeGreaterThan(0);
  expect(availableBytes).toBeLessThanOrEqual(totalBytes);
  const folder = await mkdtemp(join(tmpdir(), "gesso-disk-"));
  const disk = await probeDisk("runs", join(folder, "not", "there", "yet"));
  expect(disk).toMatchObject({ role: "runs", problem: null });
  expect(disk.freeBytes).toBeGreaterThan(0);
  expect(await readdir(folder)).toEqual([]);
  await rm(folder, { recursive: true });
});

test("a tool that is not there, fails or hangs is told apart", async () => {
  const node = (script: string, timeoutMs = 20_000) => runTool(process.execPath, ["-e", script], { timeoutMs });
  expect(await runTool("gesso-no-such-tool", [], { timeoutMs: 1000 })).toEqual({ status: "absent" });
  expect(await node("console.log('yes')")).toEqual({ status: "ok", value: "yes\n" });
  expect(await node("console.error('it\\n  broke'); process.exit(3)")).toEqual({ status: "failed", said: "it broke" });
  expect(await node("process.exit(3)")).toEqual({ status: "failed", said: "exit code 3" });
  expect(await node("setInterval(() => {}, 1000)", 300)).toEqual({ status: "timed-out", afterMs: 300 });
});

test("versions are compared part by part", () => {
  expect(compareVersions("3.9", "3.10")).toBeLessThan(0);
  expect(compareVersions("580.65.06", "580")).toBeGreaterThan(0);
  expect(compareVersions("2.9.1+cu130", "2.9.1")).toBe(0);
});
