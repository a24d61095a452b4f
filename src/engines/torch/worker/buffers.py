"""The tensors that live on the device, and how they are filled: from Gesso, with zeros, or from a file, straight to their type."""

from typing import Any

import torch
from torch import Tensor

from ops import DTYPES
from quantised import Quantised, dequantise, quantise, size_of

STORED_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PIECE_BYTES = 2**25


class FileProblem(Exception):
    """A weights file that is not there, cannot be read or is too short."""


class FileReader:
    """
    Reads ranges of files onto the device by way of two pieces of host memory, pinned where the device is a GPU: while one is copied
    there, the next part is read.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        is_gpu = device.type == "cuda"
        self.pieces = [torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=is_gpu) for _ in range(2)]
        self.copied = [torch.cuda.Event() if is_gpu else None for _ in range(2)]

    def fill(self, target: Tensor, source: dict[str, Any], name: str) -> None:
        dtype = STORED_DTYPES[source["storedDtype"]]
        needed = target.numel() * dtype.itemsize
        if needed != source["byteLength"]:
            raise ValueError(f"{name}: {target.numel()} {dtype} take {needed} bytes, the range has {source['byteLength']}")
        stored_shape = source.get("transposedFrom")
        read = target if stored_shape is None else torch.empty(stored_shape, dtype=target.dtype, device=self.device)
        flat = read.view(-1)
        try:
            with open(source["path"], "rb", buffering=0) as file:
                file.seek(source["offset"])
                for part, at in enumerate(range(0, needed, PIECE_BYTES)):
                    values = self.read_piece(file, part % 2, min(PIECE_BYTES, needed - at), source["path"], name).view(dtype)
                    start = at // dtype.itemsize
                    flat[start : start + values.numel()].copy_(values.to(self.device, non_blocking=True))
                    event = self.copied[part % 2]
                    if event is not None:
                        event.record()
        except OSError as error:
            raise FileProblem(f"Cannot read the weights of {name} from {source['path']}: {error.strerror}") from error
        if not bool(read.isfinite().all()):
            key = source.get("key", name)
            raise FileProblem(f"{source['path']}: {key} holds numbers that are not finite in {str(target.dtype).removeprefix('torch.')}.")
        if stored_shape is not None:
            target.copy_(read.mT)

    def read_piece(self, file: Any, which: int, size: int, path: str, name: str) -> Tensor:
        event = self.copied[which]
        if event is not None:
            event.synchronize()
        piece = self.pieces[which][:size]
        view, done = memoryview(piece.numpy()), 0
        while done < size:
            count = file.readinto(view[done:])
            if not count:
                raise FileProblem(f"{path} ends before the weights of {name}.")
            done += count
        return piece


class Buffers:
    """Tensors by name, each at the same address from `allocate` to `free`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.tensors: dict[str, Tensor | Quantised] = {}
        self.reader: FileReader | None = None

    def allocate(self, spec: dict[str, Any], source: dict[str, Any], data: Tensor | None) -> None:
        name, shape, dtype = spec["name"], spec["shape"], spec["dtype"]
        target = torch.zeros(shape, dtype=DTYPES.get(dtype, torch.float32), device=self.device)
        if data is not None:
            target.copy_(data)
        elif source["kind"] == "file":
            self.reader = self.reader or FileReader(self.device)
            self.reader.fill(target, source, name)
        self.tensors[name] = target if dtype in DTYPES else quantise(target, dtype)

    def write(self, name: str, data: Tensor) -> None:
        target = self.tensors[name]
        if isinstance(target, Quantised):
            self.tensors[name] = quantise(data.to(self.device), target.kind, target)
        else:
            target.copy_(data)

    def read(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        return dequantise(tensor, torch.float32) if isinstance(tensor, Quantised) else tensor

    def total_bytes(self) -> int:
        return sum(size_of(tensor) for tensor in self.tensors.values())
