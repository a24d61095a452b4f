"""The device that a worker computes on: which one, what it is, how it is set up, and what a failure on it means."""

import os
import platform
import sys
from typing import Any

import torch

import parallel

OLDEST_TORCH = (2, 5)


class Problem(Exception):
    """A failure that a person can mend. `kind` is one of those in src/engines/torch/messages.ts."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def open_device(options: dict[str, Any]) -> torch.device:
    """Finds the device, and sets PyTorch up as the options say."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < OLDEST_TORCH:
        raise Problem("version", f"PyTorch {torch.__version__}")
    device = find_device(options["device"])
    if parallel.WORLD > 1 and device.type == "cuda":
        device = find_device(f"cuda:{os.environ['LOCAL_RANK']}")
    torch.set_grad_enabled(False)
    torch.set_num_threads(options["threads"])
    # Numbers that fade to nothing are zero: processors are many times slower with what lies between.
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options["tf32"]
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    if options["deterministic"]:
        # A run that is stopped and gone on with gives the same bytes. With warnings alone, the gradients of flash and memory-efficient
        # attention would still add up in any order; cuBLAS gives the same bytes only with a workspace of its own.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=device.type == "mps")
        torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = not options["deterministic"]
    return device


def find_device(asked: str) -> torch.device:
    """`asked` is "auto", "cpu", "mps", "cuda" or "cuda:1"; ROCm's devices are called cuda too."""
    kind = asked.split(":")[0]
    if kind in ("auto", "cuda") and torch.cuda.is_available():
        index = torch.device("cuda" if kind == "auto" else asked).index or 0
        if index >= torch.cuda.device_count():
            raise Problem("no-device", f"there is no {asked}: this machine has {torch.cuda.device_count()}")
        return torch.device("cuda", index)
    if kind in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if kind in ("auto", "cpu"):
        return torch.device("cpu")
    raise Problem(*explain_no_gpu(kind))


def explain_no_gpu(kind: str) -> tuple[str, str]:
    if kind == "mps":
        return "no-device", "PyTorch finds no Apple GPU here"
    if torch.version.cuda is None and torch.version.hip is None:
        return "cpu-build", f"PyTorch {torch.__version__} was built without CUDA and ROCm"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        text = " ".join(str(error).split())
        return ("driver", text) if "too old" in text or "insufficient" in text else ("no-device", text)
    return "no-device", "PyTorch finds no GPU here"


def describe(device: torch.device) -> dict[str, Any]:
    """What src/engines/torch/messages.ts calls `DeviceInfo`."""
    info = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "pid": os.getpid(),
        "deviceCount": torch.cuda.device_count(),
        "workers": parallel.WORLD,
        "dtypes": ["float32", "float16", "bfloat16", "int32"],
        "build": describe_build(device),
        "name": None,
        "memoryBytes": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        # Older cards have it by emulation only, which is slower than float32.
        if torch.version.hip is None and properties.major < 8:
            info["dtypes"].remove("bfloat16")
        info |= {"name": properties.name, "memoryBytes": properties.total_memory}
    elif device.type == "mps":
        info |= {"name": f"Apple GPU ({platform.machine()})", "memoryBytes": torch.mps.recommended_max_memory()}
    return info


def describe_build(device: torch.device) -> dict[str, Any]:
    """What src/engines/torch/messages.ts calls `TorchBuild`: what `gesso doctor` judges."""
    is_for_gpus, is_gpu = torch.version.cuda is not None or torch.version.hip is not None, device.type == "cuda"
    capability = None
    if is_gpu:
        properties = torch.cuda.get_device_properties(device)
        architecture = getattr(properties, "gcnArchName", "").split(":")[0]
        capability = f"{properties.major}.{properties.minor}" if torch.version.hip is None else architecture or None
    # `torch.cuda.get_arch_list` is empty where there is no card; what was compiled in is told all the same.
    compiled = getattr(torch._C, "_cuda_getArchFlags", lambda: None)() or ""
    return {
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": torch.backends.cudnn.version() if is_for_gpus else None,
        "archs": torch.cuda.get_arch_list() if is_gpu else compiled.split(),
        "capability": capability,
        "freeBytes": torch.cuda.mem_get_info(device)[0] if is_gpu else None,
        "gpuProblem": explain_no_gpu("cuda")[1] if device.type == "cpu" and is_for_gpus else None,
    }


def measure_memory(device: torch.device) -> dict[str, int]:
    """On a GPU, what PyTorch's allocator holds: what other programs cannot have. On the CPU, this process."""
    if device.type == "cuda":
        held, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + held - used
        return {"residentBytes": held, "peakBytes": torch.cuda.max_memory_reserved(device), "freeBytes": free}
    if device.type == "mps":
        held = peak = torch.mps.driver_allocated_memory()
    else:
        held, peak = process_bytes()
    return {"residentBytes": held, "peakBytes": max(held, peak)}


def process_bytes() -> tuple[int, int]:
    """Resident memory of this process now and at most, as far as its system tells it."""
    try:
        import resource
    except ImportError:  # Windows
        return 0, 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), peak
    except OSError:
        return peak, peak


def kind_of(error: BaseException | None) -> str:
    """What a failure is: a problem's own kind, "memory", "device" (which loses everything on it), or "bug"."""
    if error is None:
        return "bug"
    text = str(error)
    if isinstance(error, Problem):
        return error.kind
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text or "not enough memory" in text:
        return "memory"
    accelerator_error = getattr(torch, "AcceleratorError", ())
    if isinstance(error, accelerator_error) or any(mark in text for mark in ("CUDA error", "HIP error", "cuDNN error", "CUBLAS")):
        return "device"
    return kind_of(error.__cause__)
