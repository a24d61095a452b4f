"""Messages between Gesso and this worker: frames on standard input and output, with checked lengths. Nothing is unpickled.

A frame is the magic "GSO1", the length of its header (uint32) and of its body (uint64), both little-endian, then the header as
JSON and the body: the bytes of the tensors that the header lists, one behind the other. src/engines/torch/protocol.ts is the
other end.
"""

import json
import math
import os
import struct
import sys
from typing import Any, BinaryIO, NamedTuple

MAGIC = b"GSO1"
PREFIX = struct.Struct("<4sIQ")
# A graph of some ten thousand nodes is a few MB of JSON; a body is a step's feeds, or one buffer.
MOST_HEADER_BYTES = 2**28
MOST_BODY_BYTES = 2**40
ITEM_BYTES = 4  # of float32 and int32: nothing else is sent

WireTensor = tuple[str, list[int], memoryview]  # dtype, shape, bytes


class ProtocolError(Exception):
    """What came in is no frame: the two sides have lost each other."""


class Frame(NamedTuple):
    header: dict[str, Any]
    body: memoryview
    tensors: dict[str, WireTensor]


def parse_frame(text: bytearray, body: memoryview) -> Frame:
    header = json.loads(text)
    tensors, position = {}, 0
    for entry in header["tensors"]:
        end = position + ITEM_BYTES * math.prod(entry["shape"])
        if not position <= end <= len(body):
            raise ProtocolError(f"tensor {entry['name']} takes {end - position} bytes, the body has {len(body) - position} left")
        tensors[entry["name"]] = (entry["dtype"], entry["shape"], body[position:end])
        position = end
    if position != len(body):
        raise ProtocolError(f"the tensors take {position} bytes, the body has {len(body)}")
    return Frame(header, body, tensors)


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for frames alone: whatever prints from now on, in Python or in C, goes to standard error."""
    reading, writing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return reading, writing


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame; None when the other side has closed its end, or died."""
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    magic, header_bytes, body_bytes = PREFIX.unpack(prefix)
    if magic != MAGIC or header_bytes > MOST_HEADER_BYTES or body_bytes > MOST_BODY_BYTES:
        raise ProtocolError(f"no frame begins with {prefix!r}")
    header, body = bytearray(header_bytes), bytearray(body_bytes)
    is_whole = stream.readinto(header) == header_bytes and stream.readinto(body) == body_bytes
    return parse_frame(header, memoryview(body)) if is_whole else None


def write_frame(stream: BinaryIO, header: dict[str, Any], tensors: dict[str, WireTensor]) -> None:
    listed = [{"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape, _) in tensors.items()]
    text = json.dumps({**header, "tensors": listed}, allow_nan=False).encode()
    stream.write(PREFIX.pack(MAGIC, len(text), sum(data.nbytes for *_, data in tensors.values())) + text)
    for *_, data in tensors.values():
        stream.write(data)
    stream.flush()
