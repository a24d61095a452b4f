/** The pack for a GPU machine without network runs here on the processor, with blocks that it can step through. */
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { writePack } from "../../bench/pack-gpu.ts";
import { runPack } from "../../bench/torch-sdxl.ts";
import { describeTorch, python } from "./python.ts";

describeTorch("the pack", () => {
  test("holds programs, worker and script in little space, and all its programs step and are measured", async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), "gesso-pack-"));
    try {
      await writePack({ folder, isReduced: true, precision: "float32" });
      const files = await readdir(folder, { recursive: true, withFileTypes: true });
      const sizes = files
        .filter((file) => file.isFile())
        .map(async (file) => (await stat(path.join(file.parentPath, file.name))).size);
      const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
      expect(bytes).toBeLessThan(16e6);
      const results = await runPack(python ?? "", folder, {
        isReduced: true,
        isOursOnly: true,
        threads: 1,
        rounds: 1,
        steps: 1,
        warmup: 1,
      });
      expect(results.filter(({ failed }) => failed !== undefined)).toEqual([]);
      expect(results.map(({ program }) => program)).toEqual(["plain", "recomputed", "recomputed-int8", "recomputed-nf4"]);
      const [plain, recomputed, int8, nf4] = results.map(({ losses }) => losses ?? []);
      // Recomputing does not change a number; fewer bits change the loss a little.
      expect(plain).toHaveLength(2);
      expect(recomputed).toEqual(plain);
      for (const [other, bound] of [
        [int8, 0.02],
        [nf4, 0.2],
      ] as const) {
        expect(other).not.toEqual(plain);
        (plain ?? []).forEach((loss, i) => expect(Math.abs((other?.[i] ?? NaN) - loss) / loss).toBeLessThan(bound));
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
