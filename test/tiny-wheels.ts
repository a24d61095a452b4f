/** Makes a folder of tiny wheels with Python's own zipfile, and finds a Python to install them with. */
import { spawnSync } from "node:child_process";

const script = `
import sys, zipfile, os, json
folder, wheels = sys.argv[1], json.loads(sys.argv[2])
os.makedirs(folder, exist_ok=True)
for name, version, files in wheels:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(os.path.join(folder, f"{name}-{version}-py3-none-any.whl"), "w") as archive:
        record = []
        entries = dict(files)
        entries[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
        entries[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        for path, text in entries.items():
            archive.writestr(path, text)
            record.append(f"{path},,")
        archive.writestr(f"{info}/RECORD", "\\n".join([*record, f"{info}/RECORD,,"]) + "\\n")
`;

export interface TinyWheel {
  readonly name: string;
  readonly version: string;
  /** Text by path. */
  readonly files: Readonly<Record<string, string>>;
}

export function makeWheels(python: string, folder: string, wheels: readonly TinyWheel[]): void {
  const list = JSON.stringify(wheels.map(({ name, version, files }) => [name, version, files]));
  const { status, stderr } = spawnSync(python, ["-c", script, folder, list], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
}

/** A Python 3.10 to 3.14 that can make environments, or undefined. */
export function findUsablePython(): string | undefined {
  const question = "import sys, venv, ensurepip; print(sys.executable if (3, 10) <= sys.version_info[:2] <= (3, 14) else '')";
  const { status, stdout } = spawnSync("python3", ["-c", question], { encoding: "utf8" });
  const path = status === 0 ? stdout.trim() : "";
  return path === "" ? undefined : path;
}
