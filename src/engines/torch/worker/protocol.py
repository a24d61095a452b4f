"""Messages between Gesso and this worker: frames on standard input and output, with checked lengths. Nothing is unpickled.

A frame is the magic "GSO1", the length of its header (uint32) and of its body (uint64), both little-endian, then the header as
JSON and the body: the bytes of the tensors that the header lists, one behind the other. src/engines/torch/protocol.ts is the
other end.
"""

import json
import os
import struct
import sys
from typing import Any, BinaryIO

MAGIC = b"GSO1"
PREFIX = struct.Struct("<4sIQ")
# A graph of some ten thousand nodes is a few MB of JSON; a body is a step's feeds, or one buffer.
MOST_HEADER_BYTES = 2**28
MOST_BODY_BYTES = 2**40
ITEM_BYTES = {"float32": 4, "int32": 4}


class ProtocolError(Exception):
    """What came in is no frame: the two sides have lost each other."""


class Frame:
    """A header, and the bytes of its tensors by name, each with its dtype and shape."""

    def __init__(self, header: dict[str, Any], body: memoryview) -> None:
        self.header, self.body = header, body
        self.tensors: dict[str, tuple[str, list[int], memoryview]] = {}
        position = 0
        for entry in header.get("tensors", []):
            name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
            size = ITEM_BYTES[dtype]
            for length in shape:
                size *= length
            if size < 0 or position + size > len(body):
                raise ProtocolError(f"tensor {name} takes {size} bytes, the body has {len(body) - position} left")
            self.tensors[name] = (dtype, shape, body[position : position + size])
            position += size
        if position != len(body):
            raise ProtocolError(f"the tensors take {position} bytes, the body has {len(body)}")


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for frames alone: whatever prints from now on, in Python or in C, goes to standard error."""
    reading = os.fdopen(os.dup(0), "rb", buffering=0)
    writing = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return reading, writing


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame; None when the other side has closed its end, or died."""
    prefix = read_fully(stream, PREFIX.size)
    if prefix is None:
        return None
    magic, header_bytes, body_bytes = PREFIX.unpack(prefix)
    if magic != MAGIC or header_bytes > MOST_HEADER_BYTES or body_bytes > MOST_BODY_BYTES:
        raise ProtocolError(f"no frame begins with {bytes(prefix)!r}")
    header = read_fully(stream, header_bytes)
    body = read_fully(stream, body_bytes)
    if header is None or body is None:
        return None
    return Frame(json.loads(bytes(header)), memoryview(body))


def read_fully(stream: BinaryIO, size: int) -> bytearray | None:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = stream.readinto(view[done:])
        if not count:
            return None
        done += count
    return data


def write_frame(stream: BinaryIO, header: dict[str, Any], tensors: list[tuple[str, str, list[int], memoryview]]) -> None:
    listed = [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape, _ in tensors]
    text = json.dumps({**header, "tensors": listed}, allow_nan=False).encode()
    body_bytes = sum(data.nbytes for *_, data in tensors)
    write_fully(stream, memoryview(PREFIX.pack(MAGIC, len(text), body_bytes) + text))
    for *_, data in tensors:
        write_fully(stream, data)


def write_fully(stream: BinaryIO, data: memoryview) -> None:
    """An unbuffered stream may take a part at a time."""
    done = 0
    while done < len(data):
        done += stream.write(data[done:])
