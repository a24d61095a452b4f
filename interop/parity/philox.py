"""Gesso's random numbers, written anew from the paper: Philox4x32-10 (Salmon et al. 2011) as a function of (seed, purpose, step, sample)."""

import numpy as np

PURPOSES = {"noise": 1, "timestep": 2, "order": 3, "init": 5, "noiseOffset": 9}
MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def words(purpose: str, count: int, *, seed: int, step: int = 0, sample: int = 0) -> np.ndarray:
    """`count` random 32-bit words, as uint64. The counter is (block, sample, step, purpose), the key the seed."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    x = [blocks, *(np.full_like(blocks, value) for value in (sample, step, PURPOSES[purpose]))]
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(10):
        first, second = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [(second >> SHIFT) ^ x[1] ^ key[0], second & MASK, (first >> SHIFT) ^ x[3] ^ key[1], first & MASK]
        key = [(key[0] + np.uint64(0x9E3779B9)) & MASK, (key[1] + np.uint64(0xBB67AE85)) & MASK]
    return np.stack(x, axis=1).reshape(-1)[:count]


def uniform(purpose: str, count: int, **key: int) -> np.ndarray:
    """float32 in [0, 1), in steps of 2^-24."""
    return ((words(purpose, count, **key) >> np.uint64(8)) * 2.0**-24).astype(np.float32)


def normal(purpose: str, count: int, **key: int) -> np.ndarray:
    """float32, by Box and Muller (1958)."""
    pairs = words(purpose, 2 * ((count + 1) // 2), **key).reshape(-1, 2).astype(np.float64)
    radius = np.sqrt(-2 * np.log((pairs[:, 0] + 0.5) / 2**32))
    turn = 2 * np.pi * pairs[:, 1] / 2**32
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).reshape(-1)[:count].astype(np.float32)


def integers(purpose: str, count: int, n: int, **key: int) -> list[int]:
    """Whole numbers in [0, n)."""
    return [int(value * n) for value in wide(purpose, count, **key)]


def permutation(purpose: str, n: int, **key: int) -> list[int]:
    """0 to n - 1 in random order (Fisher and Yates, from the end)."""
    order = list(range(n))
    for i, value in enumerate(wide(purpose, n - 1, **key)):
        last = n - 1 - i
        chosen = int(value * (last + 1))
        order[last], order[chosen] = order[chosen], order[last]
    return order


def wide(purpose: str, count: int, **key: int) -> list[float]:
    """Uniform in [0, 1) with 53 random bits, from two words each."""
    pairs = words(purpose, 2 * count, **key).reshape(-1, 2)
    return [(int(a) * 2**21 + (int(b) >> 11)) * 2.0**-53 for a, b in pairs]
