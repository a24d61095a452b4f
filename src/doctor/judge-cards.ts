/** Judges of graphics cards and their drivers, as the system sees them; what PyTorch makes of them is judged in judge-torch.ts. */
import { formatBytes } from "../bytes.ts";
import type { GpuFacts, MachineFacts } from "./facts.ts";
import { type Finding, findMessage, type Judge } from "./finding.ts";
import { driverMessages } from "./known-messages.ts";
import { compareVersions, thresholds } from "./thresholds.ts";
import { listOf } from "./words.ts";

const card = (id: string, mark: Finding["mark"], message: string, mend: string): Finding => {
  return { id, area: "card", mark, message, mend };
};

/** Whether there is a card of NVIDIA's, whatever its driver does. */
export function hasNvidia({ adapters, nodes, nvidia }: GpuFacts): boolean {
  if (nvidia.status === "ok") return nvidia.value.gpus.length > 0;
  return nodes?.nvidia === true || adapters.some(({ vendor }) => vendor === "NVIDIA");
}

export function hasAmd({ adapters, amd }: GpuFacts): boolean {
  if (amd.status === "ok") return amd.value.gpus.length > 0;
  return adapters.some(({ vendor }) => vendor === "AMD");
}

/** A driver that is missing, broken or stuck. */
export const judgeNvidiaDriver: Judge = ({ gpu, system }) => {
  const { nvidia, nodes } = gpu;
  if (nvidia.status === "ok") return [];
  if (nvidia.status === "timed-out") {
    const message = `nvidia-smi does not answer within ${nvidia.afterMs / 1000} s: the card or its driver hangs.`;
    return [card("nvidia-hangs", "broken", message, "Restart the machine.")];
  }
  if (nvidia.status === "failed") {
    const known = findMessage(driverMessages, nvidia.said);
    // A driver without any card is no fault of a machine that has none.
    if (known?.id === "nvidia-no-devices" && !hasNvidia(gpu)) return [];
    const message = `NVIDIA's driver does not work${known ? `: ${known.cause}` : ""} (nvidia-smi: "${nvidia.said}").`;
    const mend = known?.mend ?? "Restart the machine; if that does not help, install NVIDIA's driver again.";
    return [card(known?.id ?? "nvidia-driver-failed", "broken", message, mend)];
  }
  if (system.wsl === 2 && nodes?.dxg === false) {
    const message = "WSL does not offer a graphics card (there is no /dev/dxg).";
    return [
      card("wsl-no-card", "mind", message, "If Windows has an NVIDIA card: update its driver in Windows and run wsl --update."),
    ];
  }
  return hasNvidia(gpu) ? [judgeMissingDriver({ gpu, system })] : [];
};

function judgeMissingDriver({ gpu: { nodes }, system }: Pick<MachineFacts, "gpu" | "system">): Finding {
  if (system.container !== null && nodes?.nvidia !== true) {
    const message = `The machine has an NVIDIA card, but this container (${system.container}) was not given it.`;
    const mend = "Start the container with --gpus all (on the host, NVIDIA's Container Toolkit must be installed).";
    return card("container-no-card", "broken", message, mend);
  }
  if (nodes?.nouveau === true) {
    const message = "The NVIDIA card runs with the free driver nouveau, which has no CUDA.";
    return card("nouveau", "broken", message, "Install NVIDIA's own driver from your distribution, and restart.");
  }
  if (nodes?.nvidia === true) {
    const message = "NVIDIA's driver is loaded, but nvidia-smi, which comes with it, is not found.";
    return card("nvidia-smi-missing", "mind", message, "Install your distribution's package of NVIDIA's tools (nvidia-utils).");
  }
  const message = "There is an NVIDIA card, but no driver of NVIDIA's (nvidia-smi is not found).";
  const where = system.platform === "linux" ? "from your distribution" : "from nvidia.com";
  return card("nvidia-no-driver", "broken", message, `Install NVIDIA's driver ${where}, and restart.`);
}

/** Memory that others hold, or that is too small. */
export const judgeNvidiaMemory = ({
  gpu: { nvidia },
  system,
}: {
  readonly gpu: Pick<GpuFacts, "nvidia">;
  readonly system: MachineFacts["system"];
}): readonly Finding[] => {
  if (nvidia.status !== "ok") return [];
  const { gpus, processes, driver } = nvidia.value;
  const found: Finding[] = [];
  for (const { name, memoryBytes, usedBytes } of gpus.slice(0, 1)) {
    if (memoryBytes > 0 && usedBytes > thresholds.busyGpuShare * memoryBytes) {
      const programs = [...new Set(processes.map((process) => process.name))].slice(0, 4);
      const by = programs.length === 0 ? "" : ` (${listOf(programs)})`;
      const message = `Other programs${by} hold ${formatBytes(usedBytes)} of the ${formatBytes(memoryBytes)} of ${name}.`;
      found.push(card("card-busy", "mind", message, "Close them before you train; browsers and ComfyUI are the usual ones."));
    }
    if (memoryBytes > 0 && memoryBytes < thresholds.sdxlGpuBytes) {
      const message = `${name} has ${formatBytes(memoryBytes)}: enough for mini and SD 1.5, not for SDXL.`;
      found.push(card("card-small", "mind", message, "Train SD 1.5, or rent a card with 12 GB or more for SDXL."));
    }
  }
  const isWindows = system.platform === "win32" || system.wsl === 2;
  if (isWindows && compareVersions(driver, thresholds.spillDriver) >= 0) {
    const message =
      "When the card's memory is full, this driver goes on in the machine's memory without a word, many times slower (Windows).";
    const mend = "NVIDIA Control Panel, Manage 3D settings, CUDA - Sysmem Fallback Policy: Prefer No Sysmem Fallback.";
    found.push(card("windows-spill", "mind", message, mend));
  }
  return found;
};

/** AMD's cards: ROCm's driver and who may use it. */
export const judgeAmd: Judge = ({ gpu, system }) => {
  if (!hasAmd(gpu) || hasNvidia(gpu)) return [];
  const { nodes, amd } = gpu;
  if (system.platform === "win32") {
    const message = "PyTorch has no builds for AMD cards on Windows in its own index: Gesso uses the processor here.";
    const mend = "Use Linux with ROCm, or give a Python with AMD's own PyTorch for Windows with --python.";
    return [card("amd-windows", "mind", message, mend)];
  }
  if (nodes?.kfd === "forbidden") {
    const message = "There is an AMD card with ROCm's driver, but this user may not use it (/dev/kfd).";
    const mend = "sudo usermod -aG render,video $USER, then log out and in again.";
    return [card("amd-permission", "broken", message, mend)];
  }
  if (nodes?.kfd === "absent") {
    const isInside = system.container !== null;
    const message = isInside
      ? `The machine has an AMD card, but this container (${system.container}) was not given it (there is no /dev/kfd).`
      : "There is an AMD card, but not ROCm's driver (there is no /dev/kfd).";
    const mend = isInside
      ? "Start the container with --device /dev/kfd --device /dev/dri --group-add video."
      : "If ROCm supports the card, install amdgpu-dkms or a kernel with amdkfd, and restart. Integrated graphics are of no use for training.";
    return [card(isInside ? "amd-container" : "amd-no-rocm", "mind", message, mend)];
  }
  if (amd.status === "failed" || amd.status === "timed-out") {
    const said = amd.status === "failed" ? `: "${amd.said}"` : " in time";
    return [
      card(
        "amd-smi-failed",
        "mind",
        `rocm-smi does not answer${said}.`,
        "Restart the machine; install ROCm again if it stays.",
      ),
    ];
  }
  return [];
};

/** Variables that hide cards. */
export const judgeHiddenCards: Judge = ({ variables, gpu }) => {
  const hiding = [
    ...(hasNvidia(gpu) ? ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"] : []),
    ...(hasAmd(gpu) ? ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"] : []),
  ];
  return hiding.flatMap((name) => {
    const value = variables[name];
    if (value === undefined || !/^(-1|none|void|NoDevFiles)?$/i.test(value.trim())) return [];
    return [card("cards-hidden", "broken", `${name}=${value || '""'} hides every card.`, `Unset ${name} and start again.`)];
  });
};
