"""AdamW (Loshchilov and Hutter 2019, algorithm 2) in place, over all parameters of a group at once."""

from typing import Any

import torch
from torch import Tensor


class AdamWGroup:
    """Parameters whose step has the same settings, rates and gradient factor. Numbers are positions among a program's results."""

    def __init__(self, attrs: dict[str, float], rate: int, corrections: tuple[int, int], scale: int | None) -> None:
        self.attrs, self.rate, self.corrections, self.scale = attrs, rate, corrections, scale
        self.weights: list[str] = []
        self.m: list[str] = []
        self.v: list[str] = []
        self.grads: list[int] = []

    def apply(self, results: list[Tensor], buffers: dict[str, Tensor]) -> None:
        weights = [buffers[name] for name in self.weights]
        m, v = [buffers[name] for name in self.m], [buffers[name] for name in self.v]
        grads = [results[i].float() for i in self.grads]
        beta1, beta2 = self.attrs["beta1"], self.attrs["beta2"]
        rate, correction1, correction2 = (results[i] for i in (self.rate, *self.corrections))
        if self.scale is not None:
            grads = torch._foreach_mul(grads, results[self.scale])
        torch._foreach_mul_(m, beta1)
        torch._foreach_add_(m, grads, alpha=1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
        steps = torch._foreach_sqrt(v)
        torch._foreach_div_(steps, correction2.sqrt())
        torch._foreach_add_(steps, self.attrs["eps"])
        torch._foreach_reciprocal_(steps)
        torch._foreach_mul_(steps, m)
        torch._foreach_mul_(steps, rate / correction1)
        if self.attrs["weightDecay"] != 0:
            torch._foreach_mul_(weights, 1 - rate * self.attrs["weightDecay"])
        torch._foreach_sub_(weights, steps)


def group_steps(steps: list[dict[str, Any]], position: dict[int, int]) -> list[AdamWGroup]:
    """`position` says where among the results a value is."""
    groups: dict[tuple[Any, ...], AdamWGroup] = {}
    for step in steps:
        attrs = {name: step[name] for name in ("beta1", "beta2", "eps", "weightDecay")}
        rate, corrections = step["learningRate"], (step["correction1"], step["correction2"])
        scale = step.get("gradScale")
        key = (*attrs.values(), rate, *corrections, scale)
        if key not in groups:
            places = (position[corrections[0]], position[corrections[1]])
            groups[key] = AdamWGroup(attrs, position[rate], places, None if scale is None else position[scale])
        group = groups[key]
        group.weights.append(step["weight"])
        group.m.append(step["m"])
        group.v.append(step["v"])
        group.grads.append(position[step["grad"]])
    return list(groups.values())
