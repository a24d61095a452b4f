"""What PyTorch was built for, and why it sees no GPU: what `gesso doctor` judges."""

from typing import Any

import torch

from device import explain_no_gpu


def describe_build(device: torch.device) -> dict[str, Any]:
    """What src/engines/torch/messages.ts calls `TorchBuild`."""
    is_for_gpus = torch.version.cuda is not None or torch.version.hip is not None
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return {
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": torch.backends.cudnn.version() if is_for_gpus else None,
        "archs": torch.cuda.get_arch_list() if device.type == "cuda" else compiled_archs(),
        "capability": capability_of(device),
        "freeBytes": free,
        "gpuProblem": explain_no_gpu("cuda")[1] if device.type == "cpu" and is_for_gpus else None,
    }


def compiled_archs() -> list[str]:
    """`torch.cuda.get_arch_list` is empty where there is no card; what was compiled in is told all the same."""
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    return flags.split() if flags else []


def capability_of(device: torch.device) -> str | None:
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip is not None:
        return getattr(properties, "gcnArchName", "").split(":")[0] or None
    return f"{properties.major}.{properties.minor}"
