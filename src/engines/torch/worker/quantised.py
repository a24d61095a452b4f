"""Weights kept in fewer bits: int8 with a scale for each row, or NF4 (Dettmers et al. 2023, "QLoRA") with one for each 64 numbers."""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

# Quantiles of the normal distribution with an exact zero, scaled to -1..1: the paper's appendix E.
NF4_LEVELS = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
              -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
              0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]  # fmt: skip
NF4_BLOCK = 64
SMALLEST_SCALE = 1e-30


class Quantised(NamedTuple):
    """int8: codes in the weight's shape, scales [rows, 1, ..]. NF4: two codes a byte [blocks, 32], scales [blocks, 1]."""

    codes: Tensor
    scales: Tensor
    kind: str
    shape: list[int]


def quantise(weight: Tensor, kind: str) -> Quantised:
    """Each number goes to the nearest that there is."""
    shape = list(weight.shape)
    if kind == "int8":
        rows = weight.float().reshape(shape[0], -1)
        scales = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=SMALLEST_SCALE)
        codes = (rows / scales).round().to(torch.int8).reshape(shape)
        return Quantised(codes, scales.reshape(-1, *[1] * (len(shape) - 1)), kind, shape)
    numbers = weight.float().reshape(-1)
    blocks = torch.nn.functional.pad(numbers, (0, -len(numbers) % NF4_BLOCK)).reshape(-1, NF4_BLOCK)
    scales = blocks.abs().amax(1, keepdim=True).clamp(min=SMALLEST_SCALE)
    levels = torch.tensor(NF4_LEVELS, device=weight.device)
    nearest = torch.bucketize(blocks / scales, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
    return Quantised(nearest[:, 0::2] * 16 + nearest[:, 1::2], scales, kind, shape)


@functools.cache
def nf4_pairs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """What the two codes of each byte stand for: [256, 2]."""
    levels = torch.tensor(NF4_LEVELS, device=device).to(dtype)
    return torch.stack([levels.repeat_interleave(16), levels.repeat(16)], 1)


def dequantise(weight: Quantised, dtype: torch.dtype) -> Tensor:
    """The scales multiply in float32, whatever comes out."""
    codes, scales, kind, shape = weight
    if kind == "int8":
        return torch.mul(codes, scales, out=torch.empty(shape, dtype=dtype, device=codes.device))
    pairs = nf4_pairs(dtype, codes.device).index_select(0, codes.reshape(-1).int())
    numbers = pairs.view(-1, NF4_BLOCK).mul_(scales)
    return numbers.reshape(-1)[: math.prod(shape)].view(shape)
