"""
The worker of Gesso's torch engine: receives graphs and buffers on standard input, and runs them with PyTorch.

It is started by src/engines/torch/process.ts, never by hand. It knows nothing of models or training: what it runs is a list of
operators. It ends when its input does, so it never outlives the program that started it.
"""

import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, BinaryIO

# Ctrl-C in a terminal reaches every process in it; Gesso wants this one to live until it has saved.
for name in ("SIGINT", "SIGTERM"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)

from protocol import Frame, ProtocolError, read_frame, take_streams, write_frame  # noqa: E402


def main() -> None:
    reading, writing = take_streams()
    requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=receive, args=(reading, requests), daemon=True).start()
    first = requests.get()
    try:
        import loading  # noqa: F401 - says what is wrong with PyTorch or NumPy
        from runtime import Runtime
    except ImportError as error:
        fail(writing, first, "no-torch" if error.name in ("torch", "numpy") else "bug", str(error))
        return
    runtime = Runtime()
    request = first
    while True:
        answer(runtime, request, writing)
        if request.header["call"] == "close":
            return
        request = requests.get()


def receive(reading: BinaryIO, requests: queue.SimpleQueue) -> None:
    """On a thread of its own, so that the end of the input ends the process even in the middle of a step."""
    try:
        while (frame := read_frame(reading)) is not None:
            requests.put(frame)
    except (ProtocolError, ValueError, KeyError) as error:
        print(f"gesso worker: {error}", file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


def answer(runtime: Any, request: Frame, writing: BinaryIO) -> None:
    try:
        result, tensors = runtime.answer(request)
        write_frame(writing, {"ticket": request.header["ticket"], "result": result}, tensors)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        fail(writing, request, runtime.kind_of(error), str(error), traceback.format_exc())


def fail(writing: BinaryIO, request: Frame, kind: str, message: str, trace: str = "") -> None:
    failure = {"kind": kind, "message": message, "trace": trace}
    write_frame(writing, {"ticket": request.header["ticket"], "failure": failure}, [])


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    # What PyTorch would tidy up, the system takes back faster.
    os._exit(0)
