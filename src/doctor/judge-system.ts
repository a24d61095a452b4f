/** Judges of the system, its memory and its disks. */
import { formatBytes } from "../bytes.ts";
import type { DiskFacts, DiskRole, MachineFacts } from "./facts.ts";
import type { Area, Finding } from "./finding.ts";
import { compareVersions, thresholds } from "./thresholds.ts";
import { megabytesPerSecond } from "./words.ts";

export const judgeSystem = ({ system, processor }: Pick<MachineFacts, "system" | "processor">): readonly Finding[] => {
  const found: Finding[] = [];
  const say = (id: string, mark: Finding["mark"], message: string, mend: string): void => {
    found.push({ id, area: "system", mark, message, mend });
  };
  if (compareVersions(system.node, thresholds.oldestNode) < 0) {
    const mend = `Install Node ${thresholds.oldestNode} or newer from nodejs.org.`;
    say("node-old", "broken", `Node ${system.node} is older than Gesso can use.`, mend);
  }
  if (!["x64", "arm64"].includes(system.arch)) {
    const mend = "Install the 64-bit Node for this machine.";
    say("node-arch", "broken", `This Node is built for ${system.arch}; ONNX Runtime needs x64 or arm64.`, mend);
  }
  if (!system.hasGlibc) {
    const mend = "Use a system or container with glibc, such as node:22-slim instead of node:22-alpine.";
    say(
      "no-glibc",
      "broken",
      "This Linux has another C library than glibc; ONNX Runtime and PyTorch have no builds for it.",
      mend,
    );
  }
  if (system.isTranslated) {
    const mend = "Install Node for Apple silicon (arm64).";
    say(
      "rosetta",
      "mind",
      "Node was built for Intel and runs by translation (Rosetta): slow, and without the Apple GPU.",
      mend,
    );
  }
  if (system.wsl === 1) {
    const mend = "In Windows: wsl --set-version <distribution> 2.";
    say("wsl1", "mind", "This is WSL 1, which cannot use a graphics card and is slow with files.", mend);
  }
  if (processor.instructions !== null && system.arch === "x64" && !processor.instructions.includes("AVX2")) {
    const mend = "Use another machine, or train on a card.";
    say(
      "no-avx2",
      "mind",
      "This processor (or its virtual machine) has no AVX2: training on it is several times slower.",
      mend,
    );
  }
  return found;
};

export const judgeMemory = ({ memory }: Pick<MachineFacts, "memory">): readonly Finding[] => {
  const { totalBytes, limitBytes, availableBytes } = memory;
  const most = limitBytes ?? totalBytes;
  const area: Area = "memory";
  const limit = limitBytes === null ? "" : ` (a limit: the machine itself has ${formatBytes(totalBytes)})`;
  if (most < thresholds.leastMemoryBytes) {
    const mend = limitBytes === null ? "Use a machine with more memory." : "Give the container more memory.";
    const message = `There are ${formatBytes(most)} of memory${limit}; training needs ${formatBytes(thresholds.leastMemoryBytes)} at least.`;
    return [{ id: "memory-small", area, mark: "broken", message, mend }];
  }
  if (availableBytes < thresholds.leastMemoryBytes) {
    const message = `Only ${formatBytes(availableBytes)} of ${formatBytes(most)} of memory are free${limit}.`;
    return [{ id: "memory-full", area, mark: "mind", message, mend: "Close other programs before you train." }];
  }
  return [];
};

const whatFor: Readonly<Record<DiskRole, string>> = {
  runs: "the folder that runs are made in",
  caches: "the folder of caches",
  torch: "Gesso's folder for PyTorch",
};

export const judgeDisks = ({ disks }: Pick<MachineFacts, "disks">): readonly Finding[] => disks.flatMap(judgeDisk);

function judgeDisk(disk: DiskFacts): readonly Finding[] {
  const { role, freeBytes, problem, writeBytesPerSecond, remote } = disk;
  const at = `${whatFor[role]} (${disk.path})`;
  const find = (id: string, mark: Finding["mark"], message: string, mend: string): Finding => {
    return { id: `disk-${id}-${role}`, area: "disk", mark, message, mend };
  };
  // PyTorch's folder is written by setup alone, which looks for itself.
  if (role === "torch") return [];
  const elsewhere = role === "runs" ? "Give another place with --out." : "Set XDG_CACHE_HOME to a folder elsewhere.";
  if (problem !== null) return [find("unwritable", "broken", `Nothing can be written in ${at}: ${problem}.`, elsewhere)];
  const found: Finding[] = [];
  if (freeBytes !== null && freeBytes < thresholds.leastDiskBytes) {
    const message = `Only ${formatBytes(freeBytes)} are free in ${at}; a small run takes ${formatBytes(thresholds.leastDiskBytes)}.`;
    found.push(find("full", "broken", message, `Make room. ${elsewhere}`));
  } else if (freeBytes !== null && freeBytes < thresholds.sdxlDiskBytes) {
    const message = `${formatBytes(freeBytes)} are free in ${at}: enough for mini, but an SDXL run with its checkpoints can take ${formatBytes(thresholds.sdxlDiskBytes)}.`;
    found.push(find("small", "mind", message, `Make room before you train SDXL. ${elsewhere}`));
  }
  if (remote !== null) {
    const message = `${at[0]?.toUpperCase()}${at.slice(1)} is on ${remote}: slow, and a connection that breaks stops a run.`;
    found.push(find("remote", "mind", message, elsewhere));
  } else if (writeBytesPerSecond !== null && writeBytesPerSecond < thresholds.slowDiskBytesPerSecond) {
    const message = `The disk of ${at} writes ${megabytesPerSecond(writeBytesPerSecond)}: each SDXL checkpoint would take ${Math.round(300e6 / writeBytesPerSecond)} s.`;
    found.push(find("slow", "mind", message, elsewhere));
  }
  return found;
}

/** Whether anything of the system itself keeps a run from beginning. */
export function systemAllowsRuns(facts: MachineFacts): boolean {
  const found = [judgeSystem, judgeMemory, judgeDisks].flatMap((judge) => judge(facts));
  return !found.some(({ mark }) => mark === "broken");
}
