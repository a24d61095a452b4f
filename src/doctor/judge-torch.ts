/** Judges of PyTorch: whether it loads, and whether it fits the card and its driver. */
import type { TorchBuild as BuildInfo } from "../engines/torch/messages.ts";
import type { MachineFacts, PythonFacts, TorchFacts } from "./facts.ts";
import { type Finding, findMessage, type Judge } from "./finding.ts";
import { hasAmd, hasNvidia } from "./judge-cards.ts";
import { isUsed } from "./judge-python.ts";
import { deviceMessages, loadingMessages } from "./known-messages.ts";
import { chooseBuild, hasCodeFor } from "./torch-builds.ts";

const engine = (id: string, mark: Finding["mark"], message: string, mend: string): Finding => {
  return { id, area: "engine", mark, message, mend };
};

export const judgeTorch: Judge = (facts) => {
  return facts.pythons.filter(isUsed).flatMap((python) => {
    const { torch } = python;
    if (torch === null) return [];
    if (torch.status === "ok") return judgeFit(facts, python, torch.info);
    return [judgeLoading(python, torch)];
  });
};

/** A PyTorch that is installed and does not load. */
function judgeLoading({ path, answer }: PythonFacts, torch: Exclude<TorchFacts, { status: "ok" }>): Finding {
  const version = answer.status === "ok" ? (answer.value.torch ?? "") : "";
  const what = `PyTorch ${version} in ${path}`;
  if (torch.status === "timed-out") {
    const message = `${what} does not load within ${torch.afterMs / 1000} s.`;
    return engine(
      "torch-slow",
      "broken",
      message,
      "Try again: the first time takes longest. A network drive is too slow for it.",
    );
  }
  if (torch.kind === "version") {
    const mend = "gesso setup torch installs a newer one apart from it.";
    return engine("torch-too-old", "broken", `${what} is too old for Gesso, which needs 2.5 or newer.`, mend);
  }
  const known = findMessage(loadingMessages, torch.said);
  const message = `${what} does not work${known ? `: ${known.cause}` : ""} ("${torch.said}").`;
  const mend = known?.mend ?? torch.fix ?? "gesso setup torch installs another one apart from it.";
  return engine(known?.id ?? "torch-fails", "broken", message, mend);
}

type Info = Extract<TorchFacts, { status: "ok" }>["info"];

function judgeFit(facts: MachineFacts, python: PythonFacts, info: Info): readonly Finding[] {
  const { gpu, system } = facts;
  const { build } = info;
  if (info.device !== "cpu") return judgeCode(facts, python, info);
  const what = `PyTorch ${info.torch} in ${python.path}`;
  if (system.platform === "darwin" && system.arch === "arm64") return judgeMac(python, what);
  if (hasNvidia(gpu) && gpu.nvidia.status === "ok") {
    const card = gpu.nvidia.value.gpus[0]?.name ?? "The NVIDIA card";
    if (build.cuda === null) {
      const built = build.hip === null ? "without CUDA" : "for AMD's cards";
      const message = `${card} is not used: ${what} was built ${built}.`;
      return [engine("torch-cpu-build", "broken", message, mendBySetup(facts))];
    }
    return [judgeDeviceProblem(facts, what, build)];
  }
  if (hasAmd(gpu) && gpu.nodes?.kfd === "usable") {
    if (build.hip === null) {
      const message = `The AMD card is not used: ${what} was built without ROCm.`;
      return [engine("torch-no-rocm", "broken", message, mendBySetup(facts))];
    }
    return [judgeDeviceProblem(facts, what, build)];
  }
  return [];
}

/** What setup would do, or why it cannot. */
function mendBySetup({ system, gpu }: MachineFacts): string {
  const { build, reason } = chooseBuild(system, gpu);
  if (build === null) return `${reason[0]?.toUpperCase()}${reason.slice(1)}.`;
  return `gesso setup torch installs PyTorch ${build.torch} (${build.name}), which fits ${reason}.`;
}

function judgeDeviceProblem(facts: MachineFacts, what: string, build: BuildInfo): Finding {
  const said = build.gpuProblem ?? "no reason given";
  const known = findMessage(deviceMessages, said);
  const made = build.cuda === null ? `ROCm ${build.hip}` : `CUDA ${build.cuda}`;
  const driver = facts.gpu.nvidia.status === "ok" ? facts.gpu.nvidia.value.driver : null;
  const against = driver === null ? "" : ` (${made}, driver ${driver})`;
  const message = `${what}${against} sees no card${known ? `: ${known.cause}` : ""} ("${said}").`;
  const mend = known?.id === "torch-driver-too-old" ? `Update NVIDIA's driver, or keep it: ${mendBySetup(facts)}` : known?.mend;
  return engine(known?.id ?? "torch-no-card", "broken", message, mend ?? "Restart the machine; then run gesso doctor again.");
}

function judgeMac({ answer }: PythonFacts, what: string): readonly Finding[] {
  const machine = answer.status === "ok" ? answer.value.machine : "";
  if (machine === "x86_64") {
    const message = `${what} runs by translation from Intel's instructions (Rosetta), without the Apple GPU.`;
    return [engine("torch-rosetta", "broken", message, "gesso setup torch with a Python for Apple silicon.")];
  }
  const message = `${what} does not find the Apple GPU, which needs macOS 14 or newer.`;
  return [engine("torch-no-mps", "mind", message, "Update macOS, or install a newer PyTorch (gesso setup torch).")];
}

/** Whether there is code for the card that PyTorch sees: it says so itself only when the first operator runs. */
function judgeCode(facts: MachineFacts, { path }: PythonFacts, info: Info): readonly Finding[] {
  const { archs, capability, hip } = info.build;
  if (capability === null || archs.length === 0) return [];
  const name = info.name ?? "the card";
  if (hip !== null) {
    if (archs.includes(capability)) return [];
    const message = `PyTorch ${info.torch} in ${path} has no code for ${name} (${capability}); it has it for ${archs.join(", ")}.`;
    const mend =
      "If the card is of the same family as one of those, HSA_OVERRIDE_GFX_VERSION (10.3.0, 11.0.0) makes it pass for that one; otherwise ROCm does not support it.";
    return [engine("torch-no-code", "broken", message, mend)];
  }
  if (runsOn(archs, capability)) return [];
  const message = `PyTorch ${info.torch} in ${path} has no code for ${name}, compute capability ${capability} (it has ${archs.join(", ")}): "no kernel image is available".`;
  return [engine("torch-no-code", "broken", message, mendBySetup(facts))];
}

/** "sm_86" is code for 8.6; "compute_90" is compiled on the spot for 9.0 and everything newer. */
export function runsOn(archs: readonly string[], card: string): boolean {
  const numbers = (prefix: string): string[] =>
    archs.flatMap((arch) => {
      const [, major, minor] = new RegExp(`^${prefix}_(\\d+)(\\d)[af]?$`).exec(arch) ?? [];
      return major === undefined ? [] : [`${major}.${minor}`];
    });
  if (hasCodeFor(numbers("sm"), card)) return true;
  return numbers("compute").some((virtual) => Number(card) >= Number(virtual));
}

/** A card that works while no PyTorch is there to use it. */
export const judgeUnusedCard: Judge = (facts) => {
  const { gpu, system, pythons } = facts;
  if (pythons.some((python) => isUsed(python) && python.torch !== null)) return [];
  // One that nobody pointed at: judge-python.ts says how to.
  if (pythons.some(({ torch }) => torch?.status === "ok" && torch.info.device !== "cpu")) return [];
  const isNvidia = gpu.nvidia.status === "ok" && gpu.nvidia.value.gpus.length > 0;
  const isAmd = hasAmd(gpu) && gpu.nodes?.kfd === "usable";
  const isApple = system.platform === "darwin" && system.arch === "arm64";
  if (!isNvidia && !isAmd && !isApple) return [];
  const amd = gpu.amd.status === "ok" ? gpu.amd.value.gpus[0]?.name : undefined;
  const nvidia = gpu.nvidia.status === "ok" ? gpu.nvidia.value.gpus[0]?.name : undefined;
  const name = nvidia ?? amd ?? (isApple ? "The Apple GPU" : "The AMD card");
  return [
    engine("card-unused", "mind", `${name} is not used: Gesso uses cards by PyTorch, and there is none.`, mendBySetup(facts)),
  ];
};
