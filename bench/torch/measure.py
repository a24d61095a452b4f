"""Timing of a training step, alike for every script of this folder."""

import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch


def measure_steps(step: Callable[[], float], warmup: int, steps: int) -> dict[str, float]:
    """Runs a step `warmup` times, then `steps` times with the clock on. `step` returns its loss, so that its work is done."""
    for _ in range(warmup):
        step()
    durations = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        durations.append((time.perf_counter() - start) * 1000)
    return {
        "msPerStep": statistics.median(durations),
        "msFastest": min(durations),
        "msSlowest": max(durations),
        "steps": steps,
        "loss": loss,
        "peakRssBytes": peak_rss_bytes(),
    }


def peak_rss_bytes() -> int:
    """Of this process so far, with Python and PyTorch themselves."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def randomise_up(model: torch.nn.Module) -> int:
    """Gives the adapters' zero half small values, as after a few steps. Returns how many numbers are trained."""
    count = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            count += parameter.numel()
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=1e-3)
    return count
