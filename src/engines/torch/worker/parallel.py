"""
Several workers that compute together. The first one, rank 0, hears Gesso and passes on what all are to do; they average what a step
asks for. Ranks come as torchrun gives them: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, or GESSO_RENDEZVOUS, a file's address,
in the place of the last two.
"""

import json
import os
import sys
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from protocol import Frame, parse_frame

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
# Between two calls may lie hours; in a step a worker that is lost must not be waited for long.
PATIENCE, STEP_PATIENCE = timedelta(days=30), timedelta(minutes=10)
FAILED, PEER_LOST = 4, 5

averaging: Any = None


def join() -> None:
    """Waits for the other workers."""
    if WORLD > 1:
        where = os.environ.get("GESSO_RENDEZVOUS", "env://")
        dist.init_process_group("gloo", init_method=where, rank=RANK, world_size=WORLD, timeout=PATIENCE)


def open_averaging(device: torch.device) -> None:
    """What `average` goes by: NCCL between GPUs, gloo between processors."""
    global averaging
    if WORLD > 1:
        averaging = dist.new_group(backend="nccl" if device.type == "cuda" else "gloo", timeout=STEP_PATIENCE)


def average(*values: Tensor) -> list[Tensor]:
    """Each one's mean over all workers, in one exchange."""
    if averaging is None:
        return list(values)
    flat = torch.cat([value.reshape(-1) for value in values])
    dist.all_reduce(flat, group=averaging)
    flat /= WORLD
    parts = flat.split([value.numel() for value in values])
    return [part.view(value.shape) for part, value in zip(parts, values)]


def pass_on(frame: Frame) -> None:
    """Gives the other workers a frame that Gesso sent."""
    header = json.dumps(frame.header).encode()
    dist.broadcast(torch.tensor([len(header), len(frame.body)]), 0)
    for data in (bytearray(header), frame.body):
        if len(data) > 0:
            dist.broadcast(torch.frombuffer(data, dtype=torch.uint8), 0)


def receive() -> Frame:
    """The next frame that rank 0 passes on."""
    sizes = torch.zeros(2, dtype=torch.int64)
    dist.broadcast(sizes, 0)
    header, body = (bytearray(size) for size in sizes.tolist())
    for data in (header, body):
        if len(data) > 0:
            dist.broadcast(torch.frombuffer(data, dtype=torch.uint8), 0)
    return parse_frame(header, memoryview(body))


def leave(error: BaseException) -> NoReturn:
    """Ends this worker because another one has gone."""
    print(f"gesso worker {RANK}: another worker has gone: {error}", file=sys.stderr, flush=True)
    os._exit(PEER_LOST)


def is_lost(error: BaseException | None) -> bool:
    """Whether an error means that another worker has gone."""
    marks = ("closed by peer", "Connection reset", "Broken pipe", "gloo", "NCCL communicator was aborted")
    return WORLD > 1 and error is not None and (any(mark in str(error) for mark in marks) or is_lost(error.__cause__))


def tell_failure(failure: dict[str, Any]) -> NoReturn:
    """A worker that Gesso does not hear says on its error stream why it ends."""
    print(f"gesso failure: {json.dumps(failure)}", file=sys.stderr, flush=True)
    os._exit(FAILED)
