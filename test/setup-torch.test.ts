/** gesso setup torch with real Python and pip on a folder of tiny wheels: what goes wrong leaves nothing behind, and nothing is downloaded. */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runSetup, removeSetup } from "../src/doctor/setup/install.ts";
import { explainInstall } from "../src/doctor/setup/explain.ts";
import { listSteps, planSetup } from "../src/doctor/setup/plan.ts";
import { buildNamed } from "../src/doctor/torch-builds.ts";
import { findPythons, recordName } from "../src/engines/torch/find-python.ts";
import { findUsablePython, makeWheels } from "./tiny-wheels.ts";

const python = findUsablePython();
let root: string;
let env: Record<string, string>;
let own: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-setup-"));
  env = { XDG_DATA_HOME: root, LOCALAPPDATA: root, PATH: process.env.PATH ?? "" };
  own = join(root, "gesso", "torch");
});
afterAll(() => rm(root, { recursive: true }));

/** What lies beside and in Gesso's own folder. */
const left = async (): Promise<string[]> => (existsSync(join(root, "gesso")) ? readdir(join(root, "gesso")) : []);

test("the commands of both installers name the pinned versions, the build's index, and nothing outside the stage", () => {
  const choices = {
    build: buildNamed("cu128"),
    python: "/usr/bin/python3.12",
    pythonVersion: "3.12.4",
    environment: "/stage/env",
  };
  const lines = (installer: "uv" | "pip", index?: string): string[] =>
    listSteps({ ...choices, installer, index }).map(({ command, args }) => [command, ...args].join(" "));
  const pip = "/stage/env/bin/python -m pip install --no-cache-dir --no-input --disable-pip-version-check --progress-bar off";
  expect(lines("pip").map((line) => line.replaceAll("\\", "/").replace("Scripts/python.exe", "bin/python"))).toEqual([
    "/usr/bin/python3.12 -m venv /stage/env",
    `${pip} numpy==2.3.5`,
    `${pip} --index-url https://download.pytorch.org/whl/cu128 torch==2.9.1`,
  ]);
  expect(lines("uv")[0]).toBe("uv venv --no-project --python /usr/bin/python3.12 /stage/env");
  expect(lines("uv", "default")[2]).not.toContain("--index-url");
  expect(lines("pip", "https://mirror.example/simple")[2]).toContain("--index-url https://mirror.example/simple torch==2.9.1");
  expect(lines("pip", tmpdir())[1]).toContain(`--no-index --find-links ${tmpdir()} numpy==2.3.5`);
});

test.each([
  ["OSError: [Errno 28] No space left on device", "the disk is full"],
  ["WARNING: Retrying ... NewConnectionError(...: [Errno -2] Name or service not known)\nERROR: No matching distribution found for torch", "the index cannot be reached"], // prettier-ignore
  ["error: Failed to fetch: `https://x`\n  Caused by: dns error: failed to lookup address", "the index cannot be reached"],
  ["ERROR: Could not find a version that satisfies the requirement torch==2.9.1 (from versions: none)", "the index has no such build for this Python and system"], // prettier-ignore
  ["× No solution found when resolving dependencies:\n  there is no version of torch==2.9.1", "the index has no such build for this Python and system"], // prettier-ignore
  ["The virtual environment was not created successfully because ensurepip is not\navailable.", "this Python was installed without venv"], // prettier-ignore
  ["SSLError(SSLCertVerificationError(1, 'certificate verify failed'))", "the index's certificate is not trusted here"],
  ["ReadTimeoutError: Read timed out.", "the connection broke while it was downloading"],
  ["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "what was downloaded is damaged"],
  ["ERROR: HTTP error 403 while getting https://x", "the index refuses to answer"],
  ["PermissionError: [Errno 13] Permission denied: '/x'", "Gesso's own folder cannot be written"],
  ["something new", '"something new"'],
])("an installer that says %j is explained", (said, cause) => {
  const { message, fix } = explainInstall("install PyTorch", said);
  expect(message).toMatch(/^Could not install PyTorch: .*\. Nothing was left behind\.$/s);
  expect(message).toContain(cause);
  expect(fix).toMatch(/\.$/);
});

// Making an environment takes seconds, and minutes where others want the machine too.
describe.skipIf(python === undefined)("with a Python (skipped: there is no python3 with venv)", { timeout: 300_000 }, () => {
  const wheels = (): string => join(root, "wheels");
  const numpy = ["2.2.6", "2.3.5"].map((version) => ({ name: "numpy", version, files: { "numpy/__init__.py": "" } }));
  const plan = () => planSetup({ env, python, build: "cpu", index: wheels(), installer: "pip" });

  test("what the installer prints is told line by line while it runs, whatever pieces it comes in", async () => {
    const script = `
import sys, time
for piece in ("Collec", "ting a\\nDownload", "ing b\\rInst", "alling c"):
    sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.3)
sys.exit(3)`;
    const install = await plan();
    if (install.kind !== "install") throw new Error("nothing to install");
    const step = { what: "print", command: python ?? "", args: ["-c", script] };
    const told: { readonly line: string; readonly at: number }[] = [];
    const onLine = (line: string): void => void told.push({ line, at: performance.now() });
    await expect(runSetup({ ...install, steps: [step] }, { onLine })).rejects.toThrow("Could not print");
    expect(told.map(({ line }) => line)).toEqual(["Collecting a", "Downloading b", "Installing c"]);
    expect((told.at(-1)?.at ?? 0) - (told[0]?.at ?? 0)).toBeGreaterThan(200);
  });

  test("a folder without PyTorch ends in a sentence, and nothing is left", async () => {
    makeWheels(python ?? "", wheels(), numpy);
    await expect(runSetup(await plan())).rejects.toThrow(
      /^Could not install PyTorch 2\.9\.1 \(cpu\): the index has no such build for this Python and system \(.*\)\. Nothing was left behind\.$/,
    );
    expect(await left()).toEqual([]);
  });

  test("a PyTorch that does not load is not put in place, and what was there before stays", async () => {
    makeWheels(python ?? "", wheels(), [
      ...numpy,
      {
        name: "torch",
        version: "2.9.1",
        files: { "torch/__init__.py": 'raise OSError("libcudnn.so.9: cannot open shared object file")' },
      },
    ]);
    await mkdir(own, { recursive: true });
    await writeFile(join(own, recordName), '{"python":"/before"}');
    await expect(runSetup(await plan())).rejects.toThrow(
      /cannot load PyTorch: OSError: libcudnn\.so\.9: cannot open shared object file/,
    );
    expect(await left()).toEqual(["torch"]);
    expect(await readFile(join(own, recordName), "utf8")).toBe('{"python":"/before"}');
  });

  test("Ctrl-C in the middle leaves nothing but what was there before", async () => {
    const interrupt = new AbortController();
    const steps: string[] = [];
    const result = await runSetup(await plan(), {
      signal: interrupt.signal,
      onStep(what) {
        steps.push(what);
        if (steps.length === 2) interrupt.abort();
      },
    });
    expect(result).toBeUndefined();
    expect(steps).toEqual(["make an environment", "install NumPy"]);
    expect(await left()).toEqual(["torch"]);
  });

  test("what a setup that was ended by force left is removed, what still runs is not, nor is what is not Gesso's", async () => {
    await mkdir(join(root, "gesso", "torch.setup-999999999"));
    await mkdir(join(root, "gesso", `torch.setup-${process.ppid}`));
    await mkdir(join(root, "gesso", "other"));
    expect(await removeSetup(env)).toEqual([own, join(root, "gesso", "torch.setup-999999999")]);
    expect(await left()).toEqual(["other", `torch.setup-${process.ppid}`]);
    await mkdir(own);
    await writeFile(join(own, "letter.txt"), "mine");
    await expect(removeSetup(env)).rejects.toThrow("is neither an environment nor made by Gesso");
    expect(await readdir(own)).toEqual(["letter.txt"]);
  });

  test("an interpreter that setup took note of is the first that is tried, and none where it is gone", async () => {
    await writeFile(join(own, recordName), JSON.stringify({ python }));
    expect(findPythons(env, { onSearchPath: false })).toEqual([{ path: python, origin: "gesso" }]);
    await writeFile(join(own, recordName), JSON.stringify({ python: "/gone/python" }));
    expect(findPythons(env, { onSearchPath: false })).toEqual([]);
    await writeFile(join(own, recordName), "{damaged");
    expect(findPythons(env, { onSearchPath: false })).toEqual([]);
  });
});
