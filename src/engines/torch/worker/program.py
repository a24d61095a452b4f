"""A compiled graph: its nodes in order as calls, and how a step is run: one call after the other, or as one CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ops import DTYPES, KEPT, OPS, WITH_KEPT
from optimizer import group_steps

# Operators that take a number as well as a tensor: what one number is to all elements is part of the kernel's call then.
TAKES_NUMBERS = {"Add", "Sub", "Mul", "Div", "Min", "Max"}


class NodeError(Exception):
    """What went wrong in a node; its cause is the error itself."""


class Program:
    """
    `spec` is what src/engines/torch/serialize.ts makes of a graph. Values are numbered; a node is a list of its operator, inputs,
    attributes, outputs, the values that nothing reads after it, and its place in the model.
    """

    def __init__(self, spec: dict[str, Any], constants: dict[int, Tensor], device: torch.device) -> None:
        self.name: str = spec["name"]
        self.feeds: dict[str, int] = spec["feeds"]
        self.reads: dict[str, int] = spec["buffers"]
        self.types: list[tuple[str, list[int]] | None] = spec["types"]
        self.values: list[Any] = [None] * len(self.types)
        for i, tensor in constants.items():
            self.values[i] = tensor.to(device=device, dtype=DTYPES[self.types[i][0]])
        numbers = {i: tensor.item() for i, tensor in constants.items() if tensor.dim() == 0}
        self.calls = [make_call(node, numbers) for node in spec["nodes"]]
        self.places = [(node[0], node[5]) for node in spec["nodes"]]
        self.is_checked = False
        steps = spec["optimizer"]
        read_by_steps = [
            step[part]
            for step in steps
            for part in ("grad", "gradScale", "learningRate", "correction1", "correction2")
            if part in step
        ]
        self.results: list[int] = list(dict.fromkeys([*spec["fetches"].values(), *spec["updates"].values(), *read_by_steps]))
        position = {value: i for i, value in enumerate(self.results)}
        self.fetches = {name: position[value] for name, value in spec["fetches"].items()}
        self.updates = {name: position[value] for name, value in spec["updates"].items()}
        self.groups = group_steps(steps, position)

    def inputs(self, feeds: dict[str, Tensor], buffers: dict[str, Tensor]) -> list[Tensor]:
        return [*(feeds[name] for name in self.feeds), *(buffers[name] for name in self.reads)]

    def calculate(self, inputs: list[Tensor]) -> list[Tensor]:
        """Everything but the writing of buffers. Each value goes after its last use."""
        values = self.values.copy()
        for i, tensor in zip((*self.feeds.values(), *self.reads.values()), inputs):
            values[i] = tensor
        done = 0
        try:
            for done, (function, reads, writes, dying) in enumerate(self.calls):
                made = function(*[values[i] if i is not None else number for i, number in reads])
                if len(writes) == 1:
                    values[writes[0]] = made
                else:
                    for i, value in zip(writes, made):
                        values[i] = value
                if not self.is_checked:
                    self.check(writes, values)
                made = None
                for i in dying:
                    values[i] = None
        except Exception as error:
            op, place = self.places[done]
            raise NodeError(f"{self.name}: {op}{f' at {place}' if place else ''}: {error}") from error
        self.is_checked = True
        return [values[i] for i in self.results]

    def check(self, writes: tuple[int, ...], values: list[Any]) -> None:
        """Once: what a node gives has the shape and type that the graph says."""
        for i in writes:
            if self.types[i] is None:
                continue
            dtype, shape = self.types[i]
            if values[i].dtype != DTYPES[dtype] or list(values[i].shape) != shape:
                raise TypeError(f"it gives {values[i].dtype} {list(values[i].shape)}, the graph says {dtype} {shape}")

    def apply(self, results: list[Tensor], buffers: dict[str, Tensor]) -> None:
        """Takes the optimizer's steps and writes the updated buffers, after everything was read."""
        targets = [buffers[name] for name in self.updates]
        owned = {buffers[name].untyped_storage().data_ptr() for name in (*self.updates, *self.stepped())}
        values = [results[i] for i in self.updates.values()]
        # The contents of one buffer may go to another.
        values = [v.clone() if v.untyped_storage().data_ptr() in owned else v for v in values]
        # Before the other buffers: what gradients were summed in may be among them.
        for group in self.groups:
            group.apply(results, buffers)
        if targets:
            torch._foreach_copy_(targets, values)

    def stepped(self) -> list[str]:
        """The buffers that the optimizer writes."""
        return [name for group in self.groups for name in (*group.weights, *group.m, *group.v)]

    def rehearse(self, results: list[Tensor], buffers: dict[str, Tensor]) -> None:
        """`apply` on copies: loads its kernels without a change."""
        self.apply(results, {name: buffers[name].clone() for name in (*self.updates, *self.stepped())})


def make_call(node: list[Any], numbers: dict[int, float]) -> tuple[Callable[..., Any], list[Any], tuple[int, ...], tuple[int, ...]]:
    """A function, its inputs as pairs of a value and, where that is None, a number, what it writes, and what dies with it."""
    op, inputs, attrs, outputs, dying, _, *rest = node
    form = rest[0] if rest else None
    table = KEPT if form == "keeps" else WITH_KEPT if form == "takes" else OPS
    takes_numbers = op in TAKES_NUMBERS and sum(i in numbers for i in inputs) == 1
    reads = [(None, numbers[i]) if takes_numbers and i in numbers else (i, None) for i in inputs]
    return table[op](attrs), reads, tuple(outputs), tuple(dying)


class EagerRunner:
    """Runs a program call by call."""

    def __init__(self, program: Program, device: torch.device) -> None:
        self.program, self.device = program, device
        self.calculate = program.calculate

    def prepare(self, inputs: list[Tensor]) -> None:
        """What has to be done before the first run."""

    def run(self, feeds: dict[str, Tensor], buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        program = self.program
        there = {name: feed.to(self.device) for name, feed in feeds.items()}
        inputs = program.inputs(there, buffers)
        self.prepare(inputs)
        results = self.calculate(inputs)
        fetched = {name: to_host(results[i]) for name, i in program.fetches.items()}
        program.apply(results, buffers)
        return fetched


class CompiledRunner(EagerRunner):
    """The program as PyTorch's compiler makes it: traced once to its kernels' level, gradients included, and fused."""

    def prepare(self, inputs: list[Tensor]) -> None:
        if self.calculate != self.program.calculate:
            return
        from torch.fx.experimental.proxy_tensor import make_fx

        def calculate(values: list[Tensor]) -> list[Tensor]:
            return self.program.calculate(values)

        traced = make_fx(calculate, tracing_mode="fake", _allow_non_fake_inputs=True)(inputs)
        self.calculate = torch.compile(traced, dynamic=False)


class CapturedRunner:
    """
    Runs a program as one CUDA graph: recorded at the first run, after a rehearsal that changes no buffer, and replayed at every run,
    the first one too, so that a step gives the same bytes whichever it is. Feeds come in by memory that stays where it is.
    """

    def __init__(self, inner: EagerRunner, device: torch.device, pool: Any) -> None:
        self.inner, self.program, self.device, self.pool = inner, inner.program, device, pool
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self, feeds: dict[str, Tensor], buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.graph is None:
            self.record(feeds, buffers)
        for name, feed in feeds.items():
            self.host_feeds[name].copy_(feed)
            self.feeds[name].copy_(self.host_feeds[name], non_blocking=True)
        self.graph.replay()
        for name, value in self.fetched.items():
            self.host_fetches[name].copy_(value, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        return {name: value.clone() for name, value in self.host_fetches.items()}

    def record(self, feeds: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        program = self.program
        self.host_feeds = {name: torch.empty_like(feed, pin_memory=True) for name, feed in feeds.items()}
        self.feeds = {name: feed.to(self.device) for name, feed in feeds.items()}
        inputs = program.inputs(self.feeds, buffers)
        self.inner.prepare(inputs)
        calculate = self.inner.calculate
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            program.rehearse(calculate(inputs), buffers)
        torch.cuda.current_stream(self.device).wait_stream(side)
        torch.cuda.synchronize(self.device)
        # What the rehearsal took was its stream's; the recording takes its own.
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as the one that watches over NCCL, may call CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            results = calculate(inputs)
            # Copies of their own: a fetched value may be a view of a buffer that the step changes.
            self.fetched = {name: widened(results[i]).clone() for name, i in program.fetches.items()}
            program.apply(results, buffers)
            del results
        self.host_fetches = {name: torch.empty_like(v, device="cpu", pin_memory=True) for name, v in self.fetched.items()}
        self.graph = graph


def widened(value: Tensor) -> Tensor:
    """Gesso sees float32 and int32 only."""
    return value.contiguous() if value.dtype == torch.int32 else value.float().contiguous()


def to_host(value: Tensor) -> Tensor:
    host = widened(value).to("cpu")
    # The same memory as a buffer's, on the CPU: the step may go on to change it.
    return host.clone() if host.untyped_storage().data_ptr() == value.untyped_storage().data_ptr() else host
