/** Mini's own trainer on both engines: the same gradients in the same steps, from the same seed. */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { integers } from "../../src/diffusion/philox.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { describeTorch, device, python } from "./python.ts";

const root = path.join(import.meta.dirname, "../..");
const steps = 3;

function trainVae(data: string, state: string, ...args: string[]): void {
  const common = ["--stage", "vae", "--vae-steps", String(steps), "--threads", "1", "--data", data, "--state", state];
  const script = path.join(root, "scripts/mini/train.ts");
  const { status, stderr } = spawnSync(process.execPath, ["--import", "tsx", script, ...common, ...args], { encoding: "utf8" });
  expect(stderr).toBe("");
  expect(status).toBe(0);
}

/** The first moments after the steps: sums of gradients. */
async function readMoments(state: string): Promise<Float32Array> {
  const file = await openSafetensors(path.join(state, "vae.state.safetensors"));
  expect(file.metadata.step).toBe(String(steps));
  const names = [...file.tensors.keys()].filter((name) => name.endsWith(".m")).sort();
  const parts = await Promise.all(names.map((name) => readTensor(file, name)));
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

describeTorch("npm run mini:train", () => {
  test("takes the CPU engine's steps with --engine torch", async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), "gesso-mini-train-"));
    try {
      const [count, side] = [2, 64];
      const data = path.join(folder, "data");
      const rows = Array.from({ length: count }, (_, i) => ({ file_name: `${i}.png`, text: "a picture" }));
      const states = ["ort", "torch"].map((engine) => path.join(folder, engine)) as [string, string];
      await mkdir(data);
      await writeFile(path.join(data, "pixels.json"), JSON.stringify({ shape: [count, 3, side, side], rows }));
      const pixels = integers({ seed: 1, purpose: "init" }, count * 3 * side * side, 256);
      await writeFile(path.join(data, "pixels.bin"), Uint8Array.from(pixels));
      trainVae(data, states[0]);
      trainVae(data, states[1], "--engine", "torch", "--python", python ?? "", "--device", device);
      const [expected, actual] = [await readMoments(states[0]), await readMoments(states[1])];
      expect(actual).toHaveLength(expected.length);
      const norm = (numbers: Float32Array): number => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0));
      expect(norm(expected)).toBeGreaterThan(0);
      expect(norm(expected.map((x, i) => x - (actual[i] ?? NaN))) / norm(expected)).toBeLessThan(1e-3);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
