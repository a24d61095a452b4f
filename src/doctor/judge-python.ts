/** Judges of the interpreters that Gesso may use, and of what changes their behaviour. */
import type { MachineFacts, PythonFacts } from "./facts.ts";
import type { Finding, Judge } from "./finding.ts";
import { compareVersions, thresholds } from "./thresholds.ts";
import { listOf } from "./words.ts";

const python = (id: string, mark: Finding["mark"], message: string, mend: string): Finding => {
  return { id, area: "python", mark, message, mend };
};

/** Those that a run without further words takes, or that the user has named. */
export function isUsed({ origin }: PythonFacts): boolean {
  return origin !== "search path";
}

export const judgePythons: Judge = ({ pythons }) => pythons.flatMap((facts) => judgePython(facts));

function judgePython(facts: PythonFacts): readonly Finding[] {
  const { path, origin, answer } = facts;
  if (answer.status !== "ok") {
    if (!isUsed(facts)) return [];
    const why =
      answer.status === "absent"
        ? "it is not there"
        : answer.status === "failed"
          ? answer.said
          : `it does not answer within ${answer.afterMs / 1000} s`;
    const mend = origin === "gesso" ? "Run gesso setup torch again." : "Give another interpreter with --python.";
    return [python("python-broken", "broken", `Python cannot be started: ${path}: ${why}.`, mend)];
  }
  const { version, bits, isFreeThreaded, torch } = answer.value;
  // Where nobody has asked for PyTorch, its absence is no fault.
  if (torch !== null || !isUsed(facts)) return [];
  if (bits !== 64) {
    const mend = "Install a 64-bit Python, or let gesso setup torch find one.";
    return [python("python-32-bit", "mind", `${path} is a ${bits}-bit Python, for which PyTorch has no builds.`, mend)];
  }
  if (isFreeThreaded) {
    const message = `${path} is a Python without the global lock, for which few packages have builds.`;
    return [python("python-free-threaded", "mind", message, "Use the usual build of Python.")];
  }
  const range = `${thresholds.oldestPython} to ${thresholds.newestPython}`;
  const isNew = compareVersions(majorMinor(version), thresholds.newestPython) > 0;
  if (!isNew && compareVersions(majorMinor(version), thresholds.oldestPython) >= 0) return [];
  const message = `${path} is Python ${version}, too ${isNew ? "new" : "old"} for the PyTorch that Gesso installs (Python ${range}).`;
  const mend = "Install such a Python beside it (it disturbs nothing), then: gesso setup torch --python PATH.";
  return [python(isNew ? "python-too-new" : "python-too-old", "mind", message, mend)];
}

export const majorMinor = (version: string): string => version.split(".").slice(0, 2).join(".");

/** conda and venv both active, and variables that put other files before an environment's own. */
export const judgeEnvironment: Judge = ({ variables, pythons, choice }) => {
  const found: Finding[] = [];
  const { VIRTUAL_ENV, CONDA_PREFIX, PYTHONHOME, PYTHONPATH } = variables;
  // An environment of venv's inside of conda's base is usual; each is fine by itself.
  if (VIRTUAL_ENV !== undefined && CONDA_PREFIX !== undefined && choice.python !== null) {
    const message = `A virtual environment (${VIRTUAL_ENV}) and a conda environment (${CONDA_PREFIX}) are both active; Gesso takes ${choice.python}.`;
    found.push(
      python("environments-mixed", "mind", message, "Leave one of them (conda deactivate, deactivate), or give --python."),
    );
  }
  if (PYTHONHOME !== undefined) {
    const message = `PYTHONHOME=${PYTHONHOME} makes every Python take its files from there, which breaks environments.`;
    found.push(python("pythonhome", "mind", message, "Unset PYTHONHOME."));
  }
  if (PYTHONPATH !== undefined && pythons.some(({ torch }) => torch !== null)) {
    const message = `PYTHONPATH=${PYTHONPATH} puts other packages before those of the environment.`;
    found.push(python("pythonpath", "mind", message, "Unset PYTHONPATH if PyTorch or NumPy misbehave."));
  }
  return [...found, ...judgeLibraryPath(variables)];
};

function judgeLibraryPath(variables: MachineFacts["variables"]): readonly Finding[] {
  const { LD_LIBRARY_PATH = "", LD_PRELOAD } = variables;
  const suspects = LD_LIBRARY_PATH.split(":").filter((folder) => /cuda|cudnn|nccl|rocm|torch|conda|tensorrt/i.test(folder));
  const found: Finding[] = [];
  if (suspects.length > 0) {
    const message = `LD_LIBRARY_PATH puts ${listOf(suspects)} before PyTorch's own libraries of CUDA; another version there makes it fail in odd ways.`;
    found.push(
      python("library-path", "mind", message, "If PyTorch fails: unset LD_LIBRARY_PATH. PyTorch brings all that it needs."),
    );
  }
  if (LD_PRELOAD !== undefined) {
    const message = `LD_PRELOAD=${LD_PRELOAD} is loaded into every program, PyTorch's worker too.`;
    found.push(python("preload", "mind", message, "Unset LD_PRELOAD if PyTorch crashes."));
  }
  return found;
}

/** PyTorch in several places, and one with a card where `--engine auto` does not look. */
export const judgeSeveralPythons: Judge = ({ pythons, choice }) => {
  const loaded = pythons.flatMap(({ path, origin, torch }) => {
    return torch?.status === "ok" ? [{ path, origin, info: torch.info }] : [];
  });
  const aside = loaded.find(({ origin, info }) => origin === "search path" && info.device !== "cpu");
  if (aside && choice.engine === "ort") {
    const message = `${aside.path} has PyTorch ${aside.info.torch} with ${aside.info.name ?? "a card"}, but Gesso does not use a Python that nobody pointed at.`;
    const mend = `gesso setup torch --python "$(command -v ${aside.path})" makes it the one that Gesso uses.`;
    return [python("torch-not-pointed-at", "mind", message, mend)];
  }
  const used = loaded.filter(({ origin }) => origin !== "search path");
  if (used.length < 2) return [];
  const each = used.map(({ path, info }) => `${path} (${info.torch}, ${info.name ?? "processor"})`);
  const takes = choice.python === null ? "Gesso uses neither by itself" : `Gesso takes ${choice.python}`;
  const message = `PyTorch is there several times: ${listOf(each)}. ${takes}.`;
  return [python("torch-several", "mind", message, "--python PATH takes another.")];
};
