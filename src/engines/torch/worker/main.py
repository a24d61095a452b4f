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

from protocol import Frame, ProtocolError, read_frame, take_streams, write_frame  # noqa: E402


def main() -> None:
    reading, writing = take_streams()
    requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first or "GESSO_RENDEZVOUS" in os.environ:
        listen(lambda: read_frame(reading), requests)
    first = requests.get() if is_first else None
    try:
        import loading  # noqa: F401 - says what is wrong with PyTorch or NumPy
        import parallel
        from runtime import Runtime
    except ImportError as error:
        if first is not None:
            fail(writing, first, "no-torch" if error.name in ("torch", "numpy") else "bug", str(error))
        return
    parallel.join()
    if not is_first:
        listen(parallel.receive, requests)
    runtime = Runtime()
    request = first or requests.get()
    while True:
        answer(runtime, request, writing if is_first else None)
        if request.header["call"] == "close":
            return
        request = requests.get()


def listen(read: Callable[[], Frame | None], requests: queue.SimpleQueue) -> None:
    """On a thread of its own, so that the end of the input ends the process even in the middle of a step."""

    def receive() -> None:
        try:
            while (frame := read()) is not None:
                requests.put(frame)
                if frame.header["call"] == "close":
                    return
        except (ProtocolError, ValueError, KeyError, RuntimeError) as error:
            print(f"gesso worker: {error}", file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)

    threading.Thread(target=receive, daemon=True).start()


def answer(runtime: Any, request: Frame, writing: BinaryIO | None) -> None:
    """`writing` is None for a worker that Gesso does not hear."""
    import parallel

    try:
        if writing is not None and parallel.WORLD > 1 and request.header["toAll"]:
            parallel.pass_on(request)
        result, tensors = runtime.answer(request)
        if writing is not None:
            write_frame(writing, {"ticket": request.header["ticket"], "result": result}, tensors)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        if parallel.is_lost(error):
            parallel.leave(error)
        kind, trace = runtime.kind_of(error), traceback.format_exc()
        if writing is None:
            parallel.tell_failure({"kind": kind, "message": str(error), "trace": trace})
        fail(writing, request, kind, str(error), trace)


def fail(writing: BinaryIO, request: Frame, kind: str, message: str, trace: str = "") -> None:
    failure = {"kind": kind, "message": message, "trace": trace}
    write_frame(writing, {"ticket": request.header["ticket"], "failure": failure}, [])


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    # What PyTorch would tidy up, the system takes back faster.
    os._exit(0)
