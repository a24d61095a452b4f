"""The tensors that live on the device, and how they are filled: from Gesso, with zeros, or from a file, straight to their type."""

from typing import Any

import torch
from torch import Tensor

from device import Problem
from ops import DTYPES
from quantised import Quantised, dequantise, quantise

STORED_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "BOOL": torch.bool, "U8": torch.uint8},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
}


def read_range(shape: list[int], dtype: torch.dtype, device: torch.device, source: dict[str, Any], name: str) -> Tensor:
    """What lies at a place in a file, as the safetensors format has it."""
    path, stored = source["path"], STORED_DTYPES[source["storedDtype"]]
    data = bytearray(source["byteLength"])
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(source["offset"])
            view, done = memoryview(data), 0
            while done < len(data):
                count = file.readinto(view[done:])
                if not count:
                    raise Problem("file", f"{path} ends before the weights of {name}.")
                done += count
    except OSError as error:
        raise Problem("file", f"Cannot read the weights of {name} from {path}: {error.strerror}") from error
    stored_shape = source.get("transposedFrom")
    values = torch.frombuffer(data, dtype=stored).reshape(stored_shape or shape).to(device=device, dtype=dtype, copy=True)
    if not bool(values.isfinite().all()):
        key = source.get("key", name)
        raise Problem("file", f"{path}: {key} holds numbers that are not finite in {str(dtype).removeprefix('torch.')}.")
    return values if stored_shape is None else values.mT.contiguous()


class Buffers:
    """Tensors by name, each at the same address from `allocate` to `free`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.tensors: dict[str, Tensor | Quantised] = {}

    def allocate(self, spec: dict[str, Any], source: dict[str, Any], data: Tensor | None) -> None:
        name, shape, kind = spec["name"], spec["shape"], spec["dtype"]
        dtype = DTYPES.get(kind, torch.float32)
        if source["kind"] == "file":
            values = read_range(shape, dtype, self.device, source, name)
        elif data is not None:
            values = data.to(device=self.device, dtype=dtype, copy=True)
        else:
            values = torch.zeros(shape, dtype=dtype, device=self.device)
        self.tensors[name] = values if kind in DTYPES else quantise(values, kind)

    def write(self, name: str, data: Tensor) -> None:
        target = self.tensors[name]
        if isinstance(target, Quantised):
            new = quantise(data.to(self.device), target.kind)
            target.codes.copy_(new.codes)
            target.scales.copy_(new.scales)
        else:
            target.copy_(data)

    def read(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        return dequantise(tensor, torch.float32) if isinstance(tensor, Quantised) else tensor

    def total_bytes(self) -> int:
        parts = [part for tensor in self.tensors.values() for part in (tensor[:2] if isinstance(tensor, Quantised) else [tensor])]
        return sum(part.nbytes for part in parts)
