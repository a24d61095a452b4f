import { expect, test } from "vitest";
import { machine, nvidia } from "../../test/recorded-machines.ts";
import type { MachineFacts } from "./facts.ts";
import { chooseBuild, numpyFor, torchBuilds } from "./torch-builds.ts";

const card = (name: string, capability: string | null, driver: string): MachineFacts => {
  return machine({ gpu: { nvidia: nvidia(name, capability, { driver }) } });
};
const amd = [{ vendor: "AMD", name: null }] as const;
const nodes = { nvidia: false, kfd: "usable", dxg: false, nouveau: false } as const;

test.each([
  ["an RTX 5090", card("NVIDIA GeForce RTX 5090", "12.0", "580.95.05"), "cu130"],
  ["an RTX 5090 with the driver it came with", card("NVIDIA GeForce RTX 5090", "12.0", "570.86.16"), "cu128"],
  ["an RTX 4090", card("NVIDIA GeForce RTX 4090", "8.9", "580.65.06"), "cu130"],
  ["an RTX 4090 with a driver of 2024", card("NVIDIA GeForce RTX 4090", "8.9", "550.54.14"), "cu128"],
  ["an RTX 3060 with a driver of 2021", card("NVIDIA GeForce RTX 3060", "8.6", "470.256.02"), "cu118"],
  ["a V100", card("Tesla V100-SXM2-16GB", "7.0", "580.95.05"), "cu128"],
  ["a GTX 1080 Ti", card("NVIDIA GeForce GTX 1080 Ti", "6.1", "580.95.05"), "cu126"],
  ["a GTX 1080 Ti with an old driver", card("NVIDIA GeForce GTX 1080 Ti", "6.1", "472.12"), "cu118"],
  ["a card whose driver does not tell its capability", card("NVIDIA GeForce RTX 2080", null, "456.71"), "cu118"],
  ["an AMD card with ROCm", machine({ gpu: { adapters: amd, nodes } }), "rocm6.4"],
  ["an AMD card without ROCm", machine({ gpu: { adapters: amd } }), "cpu"],
  ["an AMD card on Windows", machine({ gpu: { adapters: amd, nodes: null }, system: { platform: "win32" } }), "cpu"],
  ["Apple silicon", machine({ system: { platform: "darwin", arch: "arm64" } }), "mps"],
  ["no card", machine({}), "cpu"],
])("%s gets the build %s", (_, { system, gpu }, name) => {
  expect(chooseBuild(system, gpu).build?.name).toBe(name);
});

test.each([
  ["a GTX 680", card("NVIDIA GeForce GTX 680", "3.0", "470.256.02"), "PyTorch has no code for NVIDIA GeForce GTX 680 (compute capability 3.0) any more"], // prettier-ignore
  ["a driver of 2019", card("NVIDIA GeForce RTX 2080", "7.5", "440.33"), "NVIDIA GeForce RTX 2080 (compute capability 7.5) needs driver 450 or newer, and this is 440.33: update the driver"], // prettier-ignore
  ["an Intel Mac", machine({ system: { platform: "darwin", arch: "x64" } }), "PyTorch has no builds for Intel Macs any more"],
  ["Intel's Node on Apple silicon", machine({ system: { platform: "darwin", arch: "x64", isTranslated: true } }), "this Node is Intel's, translated by Rosetta: install Node for Apple silicon"], // prettier-ignore
])("%s gets none, and is told why", (_, { system, gpu }, reason) => {
  expect(chooseBuild(system, gpu)).toEqual({ build: null, reason });
});

test("every pinned build is one that the worker takes, with NumPy for each of its Pythons", () => {
  for (const { torch, python, installedBytes, downloadBytes } of torchBuilds) {
    expect(torch).toMatch(/^2\.([5-9]|\d\d)\.\d$/);
    expect(downloadBytes).toBeLessThan(installedBytes);
    expect(python.map(numpyFor)).toEqual(["numpy==2.2.6", "numpy==2.3.5"]);
  }
});
