"""AdamW (Loshchilov and Hutter 2019, algorithm 2) in place, over all parameters of a group at once."""

from typing import Any

import torch
from torch import Tensor


def step_adamw(group: dict[str, Any], results: dict[int, Tensor], buffers: dict[str, Tensor]) -> None:
    """`group` is what src/engines/torch/serialize.ts calls `SerialSteps`."""
    weights, m, v = ([buffers[name] for name in group[part]] for part in ("weights", "m", "v"))
    grads = [results[i].float() for i in group["grads"]]
    rate, correction1, correction2 = (results[group[part]] for part in ("learningRate", "correction1", "correction2"))
    if group["gradScale"] is not None:
        grads = torch._foreach_mul(grads, results[group["gradScale"]])
    torch._foreach_lerp_(m, grads, 1 - group["beta1"])
    torch._foreach_mul_(v, group["beta2"])
    torch._foreach_addcmul_(v, grads, grads, 1 - group["beta2"])
    steps = torch._foreach_sqrt(v)
    torch._foreach_div_(steps, correction2.sqrt())
    torch._foreach_add_(steps, group["eps"])
    torch._foreach_reciprocal_(steps)
    torch._foreach_mul_(steps, m)
    torch._foreach_mul_(steps, rate / correction1)
    if group["weightDecay"] != 0:
        torch._foreach_mul_(weights, 1 - rate * group["weightDecay"])
    torch._foreach_sub_(weights, steps)
