/** What drivers and PyTorch print when something is wrong, what is behind it, and what mends it. */
import type { KnownMessage } from "./finding.ts";

const restart = "Restart the machine.";
const setup = "gesso setup torch installs a PyTorch of its own, apart from this one.";

/** Of nvidia-smi. */
export const driverMessages: readonly KnownMessage[] = [
  {
    pattern: /Driver\/library version mismatch/i,
    id: "nvidia-driver-mismatch",
    cause: "the driver was updated, but the old one is still loaded",
    mend: `${restart} In a container, start the container anew after the host.`,
  },
  {
    pattern: /couldn't communicate with the NVIDIA driver/i,
    id: "nvidia-driver-not-loaded",
    cause: "the driver's kernel module is not loaded: after a new kernel, or because Secure Boot refuses it",
    mend: "Restart the machine. If that does not help, install the driver again for this kernel, or sign it for Secure Boot.",
  },
  {
    pattern: /GPU access blocked by the operating system|Failed to initialize NVML: N\/A/i,
    id: "nvidia-wsl-blocked",
    cause: "Windows does not hand its card on to WSL",
    mend: "Update NVIDIA's driver in Windows (not in WSL), run wsl --update and wsl --shutdown in Windows, and start again.",
  },
  {
    pattern: /Failed to initialize NVML: Unknown Error/i,
    id: "nvidia-container-lost",
    cause: "a container has lost its access to the card, as happens when the host reloads its services",
    mend: "Start the container anew (with --gpus all).",
  },
  {
    pattern: /Insufficient Permissions/i,
    id: "nvidia-permission",
    cause: "this user may not use the card",
    mend: "Give this user access to /dev/nvidia*, or ask whoever runs the machine.",
  },
  {
    pattern: /GPU is lost|fallen off the bus|Unable to determine the device handle|requires reset/i,
    id: "nvidia-card-lost",
    cause: "the card has stopped answering, most often from too little power or too much heat",
    mend: `${restart} If it happens again, look at the card's power supply and cooling.`,
  },
  {
    pattern: /No devices were found/i,
    id: "nvidia-no-devices",
    cause: "the driver runs, but no card answers to it",
    mend: "Look whether the card has power and is handed on to this virtual machine or container, then restart.",
  },
];

/** Of PyTorch, where it was built for a card and sees none. */
export const deviceMessages: readonly KnownMessage[] = [
  {
    pattern: /too old|driver version is insufficient/i,
    id: "torch-driver-too-old",
    cause: "the driver is older than the CUDA that this PyTorch was built with",
    mend: "Update NVIDIA's driver, or have gesso setup torch install a PyTorch for the driver that is there.",
  },
  {
    pattern: /Found no NVIDIA driver/i,
    id: "torch-no-driver",
    cause: "no driver of NVIDIA is loaded",
    mend: "Install NVIDIA's driver and restart.",
  },
  {
    pattern: /Error 802|system not yet initialized/i,
    id: "torch-fabric-manager",
    cause: "the cards' switches are not set up: NVIDIA's fabric manager is not running",
    mend: "Start it (sudo systemctl start nvidia-fabricmanager), in the driver's own version.",
  },
  {
    pattern: /Error 80[34]|forward compatibility was attempted|unsupported display driver/i,
    id: "torch-driver-mismatch",
    cause: "libcuda is not the one that belongs to the driver: of a driver that was just updated, or of a container's CUDA",
    mend: "Restart the machine. If it stays, take folders with CUDA's compat libraries out of LD_LIBRARY_PATH.",
  },
  {
    pattern: /Error 999|CUDA unknown error/i,
    id: "torch-driver-stuck",
    cause: "the driver is stuck, as happens after the machine has slept",
    mend: "Reload it (sudo rmmod nvidia_uvm; sudo modprobe nvidia_uvm), or restart the machine.",
  },
  {
    pattern: /Error 46|devices? (is|are) busy or unavailable/i,
    id: "torch-card-busy",
    cause: "another program has the card to itself",
    mend: "End that program, or take the card out of exclusive mode (sudo nvidia-smi -c 0).",
  },
  {
    pattern: /out of memory/i,
    id: "torch-card-full",
    cause: "the card's memory is full before anything has begun",
    mend: "Close the programs that use the card.",
  },
  {
    pattern: /No (CUDA|HIP) GPUs are available|Error 10[01]|no CUDA-capable device|invalid device ordinal/i,
    id: "torch-no-devices",
    cause: "no card is visible to PyTorch",
    mend: "Look at CUDA_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES, and whether the container was given the card (--gpus all).",
  },
];

/** Of a PyTorch that cannot be loaded. */
export const loadingMessages: readonly KnownMessage[] = [
  {
    pattern: /No module named '?numpy/i,
    id: "numpy-missing",
    cause: "NumPy is missing beside it",
    mend: "Install it there: python -m pip install numpy.",
  },
  {
    pattern: /_ARRAY_API|Numpy is not available|compiled using NumPy 1|numpy\.core\.multiarray failed/i,
    id: "numpy-mismatch",
    cause: "NumPy and PyTorch were built for each other's other version",
    mend: `Install a matching pair there (python -m pip install --upgrade torch numpy, or "numpy<2" for PyTorch before 2.3), or let Gesso: ${setup}`,
  },
  {
    pattern: /1455|paging file is too small/i,
    id: "torch-page-file",
    cause: "Windows has no room in its page file for CUDA's libraries",
    mend: "Let Windows manage the page file's size (System, Advanced, Performance, Virtual memory), and restart.",
  },
  {
    pattern: /WinError (126|127|1114)|DLL load failed|\.dll/i,
    id: "torch-dll",
    cause: "a library of Windows that it needs is missing, most often Microsoft's Visual C++ runtime",
    mend: "Install the Visual C++ Redistributable 2015-2022 (x64) from Microsoft, then try again.",
  },
  {
    pattern: /(GLIBC|GLIBCXX|CXXABI)_[\d.]+'? not found/i,
    id: "torch-glibc",
    cause: "the system's C or C++ library is older than it needs, or an environment's own hides it",
    mend: "Take the environment's lib folder out of LD_LIBRARY_PATH, or use a newer system or container.",
  },
  {
    pattern:
      /lib(cud|cublas|cufft|curand|cusolver|cusparse|nccl|nv|torch|c10)\w*.*(cannot open shared object|undefined symbol|no version information)|undefined symbol.*(cud|cublas|nv|nccl|c10|torch)/i,
    id: "torch-cuda-library",
    cause: "a library of CUDA or of PyTorch itself is missing, or another version is found before it",
    mend: `Unset LD_LIBRARY_PATH and try again; if that does not help, ${setup}`,
  },
  {
    pattern: /wrong ELF class|incompatible architecture|mach-o|not a valid Win32|WinError 193/i,
    id: "torch-architecture",
    cause: "it was built for another kind of processor than this Python",
    mend: `Use a Python for this machine's own processor; ${setup}`,
  },
  {
    pattern: /SIGILL|illegal (hardware )?instruction|3221225501/i,
    id: "torch-processor",
    cause: "this processor lacks instructions that it uses",
    mend: "Use --engine ort, or an older PyTorch.",
  },
  {
    pattern: /SIGKILL|SIGSEGV|SIGABRT|SIGBUS|code (134|137|139)/i,
    id: "torch-crash",
    cause: "it crashed, or the system ended it for want of memory",
    mend: `Look whether memory is free; if it is, ${setup}`,
  },
];
