"""A compiled graph: its nodes in order as calls, and how a step is run: one call after the other, or as one CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from device import kind_of
from ops import DTYPES, OPS
from optimizer import step_adamw

Tensors = dict[str, Tensor]


class NodeError(Exception):
    """What went wrong in a node; its cause is the error itself."""


class Program:
    """
    `spec` is what src/engines/torch/serialize.ts makes of a graph. Values are numbered; a node is a list of its operator, inputs,
    attributes, outputs, the values that nothing reads after it, and its place in the model.
    """

    def __init__(self, spec: dict[str, Any], constants: Tensors, device: torch.device, is_compiled: bool) -> None:
        self.spec, self.device, self.is_compiled = spec, device, is_compiled
        self.name: str = spec["name"]
        self.values: list[Any] = [None] * len(spec["types"])
        for i, number in spec["numbers"].items():
            self.values[int(i)] = number
        for i, tensor in constants.items():
            self.values[int(i)] = tensor.to(device=device, dtype=DTYPES[spec["types"][int(i)][0]])
        self.functions = [OPS[op](attrs) for op, _, attrs, *_ in spec["nodes"]]
        self.is_checked = False
        self.compiled: Callable[[list[Tensor]], list[Tensor]] | None = None

    def run(self, feeds: Tensors, buffers: dict[str, Any]) -> Tensors:
        return self.step({name: feed.to(self.device) for name, feed in feeds.items()}, buffers)

    def step(self, feeds: Tensors, buffers: dict[str, Any]) -> Tensors:
        """Everything that a step does, on the device; what is fetched is float32 or int32, in memory of its own."""
        results = self.calculate(feeds, buffers)
        # A fetched value may be a view of a buffer that the step goes on to change.
        fetched = {name: on_wire(results[i]).clone() for name, i in self.spec["fetches"].items()}
        self.apply(results, buffers)
        return fetched

    def calculate(self, feeds: Tensors, buffers: dict[str, Any]) -> dict[int, Tensor]:
        """Everything but the writing of buffers."""
        inputs = [*(feeds[name] for name in self.spec["feeds"]), *(buffers[name] for name in self.spec["buffers"])]
        if self.is_compiled and self.compiled is None:
            self.compiled = compile_calls(self.call_all, inputs)
        calls = self.call_all if self.compiled is None else self.compiled
        return dict(zip(self.spec["results"], calls(inputs)))

    def call_all(self, inputs: list[Tensor]) -> list[Tensor]:
        """Each value goes after its last use."""
        values = self.values.copy()
        for i, tensor in zip((*self.spec["feeds"].values(), *self.spec["buffers"].values()), inputs):
            values[i] = tensor
        node: Any = None
        try:
            for node, function in zip(self.spec["nodes"], self.functions):
                made = function(*[values[i] for i in node[1]])
                for i, value in zip(node[3], made if isinstance(made, (tuple, list)) else [made]):
                    values[i] = value
                if not self.is_checked:
                    self.check(node[3], values)
                made = value = None
                for i in node[4]:
                    values[i] = None
        except Exception as error:
            raise NodeError(f"{self.name}: {node[0]}{f' at {node[5]}' if node[5] else ''}: {error}") from error
        self.is_checked = True
        return [values[i] for i in self.spec["results"]]

    def check(self, writes: list[int], values: list[Any]) -> None:
        """Once: what a node gives has the shape and type that the graph says."""
        for i in writes:
            dtype, shape = self.spec["types"][i] or (None, None)
            if dtype is not None and (values[i].dtype != DTYPES[dtype] or list(values[i].shape) != shape):
                raise TypeError(f"it gives {values[i].dtype} {list(values[i].shape)}, the graph says {dtype} {shape}")

    def written(self) -> list[str]:
        """The buffers that a step changes."""
        return [*self.spec["updates"], *(name for group in self.spec["optimizer"] for part in ("weights", "m", "v") for name in group[part])]

    def apply(self, results: dict[int, Tensor], buffers: dict[str, Any]) -> None:
        """Takes the optimizer's steps and writes the updated buffers, after everything was read."""
        owned = {buffers[name].untyped_storage().data_ptr() for name in self.written()}
        values = [results[i] for i in self.spec["updates"].values()]
        # The contents of one buffer may go to another.
        values = [v.clone() if v.untyped_storage().data_ptr() in owned else v for v in values]
        # Before the other buffers: what gradients were summed in may be among them.
        for group in self.spec["optimizer"]:
            step_adamw(group, results, buffers)
        if values:
            torch._foreach_copy_([buffers[name] for name in self.spec["updates"]], values)


def compile_calls(calls: Callable[[list[Tensor]], list[Tensor]], inputs: list[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """By PyTorch's compiler: traced once to its kernels' level, gradients included, and fused."""
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(lambda values: calls(values), tracing_mode="fake", _allow_non_fake_inputs=True)(inputs)
    return torch.compile(traced, dynamic=False)


class CaptureError(Exception):
    """A step that cannot be recorded, though it may well be run call by call."""


class CapturedProgram:
    """
    Runs a program as one CUDA graph: recorded at the first run, after a rehearsal that changes no buffer, and replayed at every run,
    the first one too, so that a step gives the same bytes whichever it is. Feeds come in by memory that stays where it is.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.is_rehearsed = program, False
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self, feeds: Tensors, buffers: dict[str, Any]) -> Tensors:
        for name, feed in feeds.items():
            self.host_feeds[name].copy_(feed)
            self.feeds[name].copy_(self.host_feeds[name], non_blocking=True)
        self.graph.replay()
        for name, value in self.fetched.items():
            self.host_fetches[name].copy_(value, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return {name: value.clone() for name, value in self.host_fetches.items()}

    def rehearse(self, feeds: Tensors, buffers: dict[str, Any]) -> None:
        """Runs the step once on copies of what it changes, which loads and chooses its kernels."""
        self.host_feeds = {name: torch.empty_like(feed, pin_memory=True) for name, feed in feeds.items()}
        self.feeds = {name: feed.to(self.program.device) for name, feed in feeds.items()}
        copies = {name: buffers[name].clone() for name in self.program.written()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.program.step(self.feeds, {**buffers, **copies})
        torch.cuda.current_stream().wait_stream(side)
        self.is_rehearsed = True

    def record(self, buffers: dict[str, Any], pool: Any) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, such as the one that watches over NCCL, may call CUDA meanwhile.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                fetched = self.program.step(self.feeds, buffers)
        except Exception as error:
            # The end of a recording that failed hides why behind an error of its own; neither harms the device.
            why = error if isinstance(error, NodeError) else error.__context__ or error
            raise (why if kind_of(why) == "memory" else CaptureError(str(why))) from None
        self.host_fetches = {name: torch.empty_like(v, device="cpu", pin_memory=True) for name, v in fetched.items()}
        self.fetched, self.graph = fetched, graph

    def forget(self) -> None:
        """Gives back the memory that the recording holds."""
        self.fetched, self.graph = {}, None


def on_wire(value: Tensor) -> Tensor:
    """Gesso sees float32 and int32 only."""
    return value.contiguous() if value.dtype == torch.int32 else value.float().contiguous()
