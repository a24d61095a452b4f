"""Answers the calls of src/engines/torch/messages.ts: buffers, programs and steps on one device."""

from typing import Any

import torch
from torch import Tensor

import parallel
from buffers import Buffers, FileProblem
from build import describe_build
from device import DeviceProblem, describe, kind_of, measure_memory, open_device
from program import CapturedRunner, CompiledRunner, EagerRunner, Program
from protocol import Frame

WIRE_DTYPES = {"float32": torch.float32, "int32": torch.int32}
Answer = tuple[Any, list[tuple[str, str, list[int], memoryview]]]


class Runtime:
    """Everything that lives on the device."""

    def __init__(self) -> None:
        self.runners: dict[int, EagerRunner | CapturedRunner] = {}
        self.notes: list[str] = []
        self.pool: Any = None

    def answer(self, request: Frame) -> Answer:
        header = request.header
        tensors = {name: wire_tensor(*entry) for name, entry in request.tensors.items()}
        return getattr(self, f"call_{header['call']}")(header["args"], tensors)

    def kind_of(self, error: BaseException) -> str:
        if isinstance(error, DeviceProblem):
            return error.kind
        return "file" if isinstance(error, FileProblem) else kind_of(error)

    def call_start(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        self.options = args
        self.device = open_device(args)
        self.buffers = Buffers(self.device)
        parallel.open_averaging(self.device)
        return {**describe(self.device), "build": describe_build(self.device)}, []

    def call_allocate(self, args: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.buffers.allocate(args["spec"], args["source"], tensors.get("data"))
        return None, []

    def call_write(self, args: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.buffers.write(args["name"], tensors["data"])
        return None, []

    def call_read(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        return None, [to_wire("data", self.buffers.read(args["name"]))]

    def call_free(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        del self.buffers.tensors[args["name"]]
        return None, []

    def call_compile(self, args: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        program = Program(args["program"], {int(i): tensor for i, tensor in tensors.items()}, self.device)
        runner: EagerRunner | CapturedRunner
        runner = (CompiledRunner if self.options["compile"] else EagerRunner)(program, self.device)
        if self.device.type == "cuda" and self.options["capture"]:
            # One pool for all: a step's memory is free again for the next bucket's, since what is fetched leaves at once.
            self.pool = self.pool or torch.cuda.graph_pool_handle()
            runner = CapturedRunner(runner, self.device, self.pool)
        self.runners[args["id"]] = runner
        return None, []

    def call_run(self, args: dict[str, Any], feeds: dict[str, Tensor]) -> Answer:
        runner = self.runners[args["id"]]
        if args["isShared"]:
            own = f"{parallel.RANK}:"
            feeds = {name.removeprefix(own): feed for name, feed in feeds.items() if name.startswith(own)}
        try:
            fetched = runner.run(feeds, self.buffers.tensors)
        except Exception as error:
            is_recording = isinstance(runner, CapturedRunner) and runner.graph is None
            # Several workers would have to agree to go on in another way.
            if not is_recording or kind_of(error) == "device" or args["isShared"]:
                raise
            fetched = self.run_uncaptured(args["id"], runner, feeds, str(error))
        return {"notes": self.take_notes()}, [to_wire(name, value) for name, value in fetched.items()]

    def run_uncaptured(self, i: int, runner: CapturedRunner, feeds: dict[str, Tensor], why: str) -> dict[str, Tensor]:
        """A step that cannot be recorded, or not in the memory there is, is run call by call from now on."""
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        self.notes.append(f"{runner.program.name} runs without a CUDA graph: {why}")
        self.runners[i] = runner.inner
        return runner.inner.run(feeds, self.buffers.tensors)

    def take_notes(self) -> list[str]:
        notes, self.notes = self.notes, []
        return notes

    def call_release(self, args: dict[str, Any], _: dict[str, Tensor]) -> Answer:
        self.runners.pop(args["id"], None)
        return None, []

    def call_memory(self, _: Any, __: dict[str, Tensor]) -> Answer:
        return measure_memory(self.device, self.buffers.total_bytes()), []

    def call_close(self, _: Any, __: dict[str, Tensor]) -> Answer:
        return None, []


def wire_tensor(dtype: str, shape: list[int], data: memoryview) -> Tensor:
    """The numbers where they lie in the message."""
    return torch.frombuffer(data, dtype=WIRE_DTYPES[dtype]).reshape(shape)


def to_wire(name: str, value: Tensor) -> tuple[str, str, list[int], memoryview]:
    host = value if value.dtype == torch.int32 else value.float()
    host = host.to("cpu").contiguous()
    dtype = "int32" if host.dtype == torch.int32 else "float32"
    return name, dtype, list(host.shape), memoryview(host.reshape(-1).numpy()).cast("B")
