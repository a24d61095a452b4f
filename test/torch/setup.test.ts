/** Setup to its end with a real PyTorch: an environment that computes is put in place, found, judged and removed. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { gatherFacts } from "../../src/doctor/gather.ts";
import { judgeMachine } from "../../src/doctor/judge.ts";
import { removeSetup, runSetup } from "../../src/doctor/setup/install.ts";
import { planSetup } from "../../src/doctor/setup/plan.ts";
import { checkEngine, isRight } from "../../src/engines/check-engine.ts";
import { chooseEngine } from "../../src/engines/choose.ts";
import { makeWheels } from "../tiny-wheels.ts";
import { describeTorch, openTorch, python as found } from "./python.ts";

const python = found ?? "python3";

describeTorch("gesso setup torch and gesso doctor", () => {
  let root: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "gesso-setup-torch-"));
    env = { XDG_DATA_HOME: root, LOCALAPPDATA: root, PATH: process.env.PATH ?? "" };
  });
  afterAll(() => rm(root, { recursive: true }));

  test("a Python that has PyTorch is taken as it is, and the torch engine finds it until it is removed", async () => {
    const plan = await planSetup({ env, python });
    expect(plan.kind).toBe("use");
    expect((await runSetup(plan))?.info.torch).toMatch(/^\d/);
    expect(await readdir(join(root, "gesso", "torch"))).toEqual(["gesso-setup.json"]);
    expect((await chooseEngine({ engine: "torch" }, env)).python).toBe(plan.python);
    expect(await removeSetup(env)).toEqual([join(root, "gesso", "torch")]);
    expect(existsSync(python)).toBe(true);
  });

  test("an environment that was made works where it was put, and doctor finds nothing wrong with it", async () => {
    const packages = spawnSync(python, ["-c", "import torch, os; print(os.path.dirname(os.path.dirname(torch.__file__)))"], {
      encoding: "utf8",
    }).stdout.trim();
    const wheels = join(root, "wheels");
    // In place of gigabytes: packages that point at the PyTorch that is there.
    makeWheels(python, wheels, [
      ...["2.2.6", "2.3.5"].map((version) => ({ name: "numpy", version, files: { "gesso_test_numpy.pth": `${packages}\n` } })),
      { name: "torch", version: "2.9.1", files: { "gesso_test_torch.pth": `${packages}\n` } },
    ]);
    const plan = await planSetup({ env, python, build: "cpu", index: wheels, installer: "pip" });
    const result = await runSetup(plan);
    expect(result?.python.startsWith(join(root, "gesso", "torch"))).toBe(true);
    expect(await readdir(join(root, "gesso"))).toEqual(["torch"]);
    const options = { version: "0.0.0", env, runsFolder: root, cacheFolder: root, python: result?.python };
    const { facts, findings } = judgeMachine(await gatherFacts(options));
    expect(facts.pythons).toMatchObject([{ path: result?.python, torch: { status: "ok" } }]);
    expect(facts.engines).toMatchObject([{ engine: "ort" }, { engine: "torch", python: result?.python }]);
    expect(findings.filter(({ area, mark }) => area === "engine" && mark === "broken")).toEqual([]);
    await removeSetup(env);
  });

  test.each(["float32", "bfloat16", "float16"] as const)(
    "a product and an attention in %s are right to its rounding",
    async (precision) => {
      const engine = await openTorch(precision);
      const { matmul, attention } = await checkEngine(engine);
      await engine.dispose();
      expect([isRight(matmul), isRight(attention)]).toEqual([true, true]);
      // A bound that lets everything pass would tell nothing.
      expect(matmul.worstError).toBeGreaterThan(matmul.bound / 1000);
    },
  );
});
