"""The device that a worker computes on: which one, what it is, how it is set up, and what a failure on it means."""

import os
import platform
import resource_usage
from typing import Any

import torch

import parallel

OLDEST_TORCH = (2, 5)


class DeviceProblem(Exception):
    """Why the device that was asked for cannot be used. `kind` is one of the failures in src/engines/torch/messages.ts."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def open_device(options: dict[str, Any]) -> torch.device:
    """Finds the device, and sets PyTorch up as the options say."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < OLDEST_TORCH:
        raise DeviceProblem("version", f"PyTorch {torch.__version__}")
    device = find_device(options["device"])
    if parallel.WORLD > 1 and device.type == "cuda":
        device = find_device(f"cuda:{os.environ['LOCAL_RANK']}")
    torch.set_grad_enabled(False)
    torch.set_num_threads(options["threads"])
    # Numbers that fade to nothing are zero: processors are many times slower with what lies between.
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = options["tf32"]
        torch.backends.cudnn.allow_tf32 = options["tf32"]
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    if options["deterministic"]:
        # A run that is stopped and gone on with gives the same bytes: kernels that add in any order are left out.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = False
    else:
        torch.backends.cudnn.benchmark = True
    return device


def find_device(asked: str) -> torch.device:
    """`asked` is "auto", "cpu", "mps", "cuda" or "cuda:1"; ROCm's devices are called cuda too."""
    kind = asked.split(":")[0]
    if kind in ("auto", "cuda") and torch.cuda.is_available():
        device = torch.device(asked if kind == "cuda" else "cuda")
        if (device.index or 0) >= torch.cuda.device_count():
            raise DeviceProblem("no-device", f"there is no {asked}: this machine has {torch.cuda.device_count()}")
        return torch.device("cuda", device.index or 0)
    if kind in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if kind in ("auto", "cpu"):
        return torch.device("cpu")
    raise DeviceProblem(*explain_no_gpu(kind))


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
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        # Older cards have it by emulation only, which is slower than float32.
        if torch.version.hip is None and properties.major < 8:
            info["dtypes"].remove("bfloat16")
        return {**info, "name": properties.name, "memoryBytes": properties.total_memory}
    if device.type == "mps":
        return {**info, "name": f"Apple GPU ({platform.machine()})", "memoryBytes": torch.mps.recommended_max_memory()}
    return {**info, "name": None, "memoryBytes": None}


def measure_memory(device: torch.device, buffer_bytes: int) -> dict[str, int]:
    """On a GPU, what PyTorch's allocator holds: what other programs cannot have. On the CPU, this process."""
    free: dict[str, int] = {}
    if device.type == "cuda":
        free["freeBytes"] = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        held, peak = torch.cuda.memory_reserved(device), torch.cuda.max_memory_reserved(device)
    elif device.type == "mps":
        held = peak = torch.mps.driver_allocated_memory()
    else:
        held, peak = resource_usage.resident_bytes(), resource_usage.peak_bytes()
    return {"bufferBytes": buffer_bytes, "residentBytes": held, "peakBytes": max(held, peak), **free}


def kind_of(error: BaseException) -> str:
    """What a failure is: "memory", "device" (which loses everything on it), or "bug"."""
    if error.__cause__ is not None:
        found = kind_of(error.__cause__)
        if found != "bug":
            return found
    text = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text or "not enough memory" in text:
        return "memory"
    accelerator_error = getattr(torch, "AcceleratorError", ())
    if isinstance(error, accelerator_error) or any(mark in text for mark in ("CUDA error", "HIP error", "cuDNN error", "CUBLAS")):
        return "device"
    return "bug"
