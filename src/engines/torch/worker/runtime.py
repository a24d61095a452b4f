"""Answers the calls of src/engines/torch/messages.ts: buffers, programs and steps on one device."""

from typing import Any

import torch
from torch import Tensor

import parallel
from buffers import Buffers
from device import describe, kind_of, measure_memory, open_device
from program import CapturedProgram, CaptureError, Program
from protocol import Frame, WireTensor

WIRE_DTYPES = {"float32": torch.float32, "int32": torch.int32}
Answer = tuple[Any, dict[str, Tensor]]


class Runtime:
    """Everything that lives on the device."""

    def __init__(self) -> None:
        self.programs: dict[int, Program | CapturedProgram] = {}
        self.notes: list[str] = []
        self.pool: Any = None

    def answer(self, request: Frame) -> tuple[Any, dict[str, WireTensor]]:
        """What a call gives, besides tensors, and those."""
        header = request.header
        tensors = {name: from_wire(*entry) for name, entry in request.tensors.items()}
        result, given = getattr(self, f"call_{header['call']}")(header["args"], tensors)
        return result, {name: to_wire(tensor) for name, tensor in given.items()}

    def call_start(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        self.options = args
        self.device = open_device(args)
        self.buffers = Buffers(self.device)
        parallel.open_averaging(self.device)
        return describe(self.device), {}

    def call_allocate(self, args: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.buffers.allocate(args["spec"], args["source"], tensors.get("data"))
        return None, {}

    def call_write(self, args: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.buffers.write(args["name"], tensors["data"])
        return None, {}

    def call_read(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        return None, {"data": self.buffers.read(args["name"])}

    def call_free(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        del self.buffers.tensors[args["name"]]
        return None, {}

    def call_compile(self, args: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        program = Program(args["program"], tensors, self.device, self.options["compile"])
        is_captured = self.device.type == "cuda" and self.options["capture"]
        self.programs[args["id"]] = CapturedProgram(program) if is_captured else program
        return None, {}

    def call_run(self, args: dict[str, Any], feeds: dict[str, Tensor]) -> Answer:
        program = self.programs[args["id"]]
        if args["isShared"]:
            own = f"{parallel.RANK}:"
            feeds = {name.removeprefix(own): feed for name, feed in feeds.items() if name.startswith(own)}
        if isinstance(program, CapturedProgram) and program.graph is None:
            try:
                self.record(program, feeds)
            except Exception as error:
                # Several workers would have to agree to go on in another way.
                if args["isShared"] or not (isinstance(error, CaptureError) or kind_of(error) == "memory"):
                    raise
                self.forget_recorded()
                self.notes.append(f"{program.program.name} runs without a CUDA graph: {error}")
                program = self.programs[args["id"]] = program.program
        fetched = program.run(feeds, self.buffers.tensors)
        notes, self.notes = self.notes, []
        return {"notes": notes}, fetched

    def record(self, program: CapturedProgram, feeds: dict[str, Tensor]) -> None:
        """
        One pool for all recorded steps: a step's memory is free again for the next bucket's, since what is fetched leaves at once. A
        rehearsal cannot have the pool's memory, so the other steps are forgotten before it, and recorded again when they are next run.
        """
        if not program.is_rehearsed:
            self.forget_recorded()
            program.rehearse(feeds, self.buffers.tensors)
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        program.record(self.buffers.tensors, self.pool)

    def forget_recorded(self) -> None:
        for program in self.programs.values():
            if isinstance(program, CapturedProgram):
                program.forget()
        self.pool = None
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    def call_release(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        self.programs.pop(args["id"], None)
        return None, {}

    def call_memory(self, _: Any, __: dict[str, Tensor]) -> Answer:
        return {"bufferBytes": self.buffers.total_bytes(), **measure_memory(self.device)}, {}

    def call_close(self, _: Any, __: dict[str, Tensor]) -> Answer:
        return None, {}


def from_wire(dtype: str, shape: list[int], data: memoryview) -> Tensor:
    """The numbers where they lie in the message."""
    return torch.frombuffer(data, dtype=WIRE_DTYPES[dtype]).reshape(shape)


def to_wire(value: Tensor) -> WireTensor:
    host = (value if value.dtype == torch.int32 else value.float()).to("cpu").contiguous()
    dtype = "int32" if host.dtype == torch.int32 else "float32"
    return dtype, list(host.shape), memoryview(host.reshape(-1).numpy()).cast("B")
