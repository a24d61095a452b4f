"""
The worker of Gesso's torch engine: receives graphs and buffers on standard input, and runs them with PyTorch.

It is started by src/engines/torch/launch.ts or by torchrun, never by hand. It knows nothing of models or training: what it runs is a
list of operators. It ends when its input does, so it never outlives the program that started it; see parallel.py for several of them.
"""

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

# Ctrl-C in a terminal reaches every process in it; Gesso wants this one to live until it has saved.
signal.signal(signal.SIGINT, signal.SIG_IGN)
if "TORCHELASTIC_RUN_ID" not in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

from protocol import Frame, read_frame, take_streams, write_frame  # noqa: E402

IS_FIRST = os.environ.get("RANK", "0") == "0"


def main() -> None:
    reading, writing = take_streams()
    requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    if IS_FIRST or "GESSO_RENDEZVOUS" in os.environ:
        listen(lambda: read_frame(reading), requests)
    request = requests.get() if IS_FIRST else None
    problem = find_problem()
    if problem is not None:
        return fail(writing, request, {"kind": "no-torch", "message": problem, "trace": ""})
    import parallel
    from runtime import Runtime

    parallel.join()
    if not IS_FIRST:
        listen(parallel.receive, requests)
    runtime = Runtime()
    while True:
        request = request or requests.get()
        answer(runtime, request, writing)
        if request.header["call"] == "close":
            return
        request = None


def listen(read: Callable[[], Frame | None], requests: queue.SimpleQueue) -> None:
    """On a thread of its own, so that the end of the input ends the process even in the middle of a step."""

    def receive() -> None:
        try:
            while (frame := read()) is not None:
                requests.put(frame)
                if frame.header["call"] == "close":
                    return
        except Exception as error:  # noqa: BLE001 - what came in is no frame, or another worker has gone
            print(f"gesso worker: {error}", file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)

    threading.Thread(target=receive, daemon=True).start()


def find_problem() -> str | None:
    """What keeps PyTorch and NumPy from being loaded."""
    try:
        import numpy  # noqa: F401
        import torch

        # A NumPy that PyTorch was not built for is told by a warning only, and fails at the first exchange.
        torch.zeros(1).numpy()
    except ModuleNotFoundError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - libraries that are missing or of another version fail in many ways
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def answer(runtime: Any, request: Frame, writing: BinaryIO) -> None:
    import device
    import parallel

    try:
        if IS_FIRST and parallel.WORLD > 1 and request.header["toAll"]:
            parallel.pass_on(request)
        result, tensors = runtime.answer(request)
        if IS_FIRST:
            write_frame(writing, {"ticket": request.header["ticket"], "result": result}, tensors)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        if parallel.is_lost(error):
            parallel.leave(error)
        failure = {"kind": device.kind_of(error), "message": str(error), "trace": traceback.format_exc()}
        if not IS_FIRST:
            parallel.tell_failure(failure)
        fail(writing, request, failure)


def fail(writing: BinaryIO, request: Frame | None, failure: dict[str, str]) -> None:
    """Gesso hears the first worker only."""
    if request is not None:
        write_frame(writing, {"ticket": request.header["ticket"], "failure": failure}, {})


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    # What PyTorch would tidy up, the system takes back faster.
    os._exit(0)
