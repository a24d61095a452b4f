"""What each operator of the graph runs as: one table, with a key for every operator that src/engines/torch/serialize.ts leaves.

An entry takes the node's attributes and gives the function that a step calls with the node's inputs. The composites run as
PyTorch's own kernels. Norms and attention also give what their gradient would otherwise calculate again, as their last output; it is
no tensor of the graph, and the last input of that gradient.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import parallel
from quantised import dequantise

aten = torch.ops.aten
Attrs = dict[str, Any]
Function = Callable[..., Any]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int32": torch.int32}
QUICK_GELU_SLOPE = 1.702


def plain(function: Function) -> Callable[[Attrs], Function]:
    return lambda _: function


def quick_gelu_grad(x: Tensor, ct: Tensor) -> Tensor:
    gate = torch.sigmoid(x * QUICK_GELU_SLOPE)
    return ct * gate * (1 + x * QUICK_GELU_SLOPE * (1 - gate))


def reduction(function: Function) -> Callable[[Attrs], Function]:
    return lambda a: lambda x: function(x, a["axes"], keepdim=a["keepDims"])


def matmul(a: Attrs) -> Function:
    trans_a, trans_b = a["transA"], a["transB"]
    return lambda x, y: torch.matmul(x.mT if trans_a else x, y.mT if trans_b else y)


def conv_padding(a: Attrs) -> tuple[list[int], list[int]]:
    """What the kernels pad by themselves, alike on opposite sides, or all four sides for `functional.pad` to do before."""
    top, left, bottom, right = a["padding"]
    return ([top, left], []) if (top, left) == (bottom, right) else ([0, 0], [left, right, top, bottom])


def padded(x: Tensor, before: list[int]) -> Tensor:
    return functional.pad(x, before) if before else x


def conv2d(a: Attrs) -> Function:
    stride, (padding, before) = a["stride"], conv_padding(a)
    return lambda x, w, bias=None: torch.conv2d(padded(x, before), w, bias, stride, padding)


def conv_backward(ct: Tensor, x: Tensor, w: Tensor, stride: int, padding: list[int], wanted: list[bool]) -> list[Tensor]:
    return aten.convolution_backward(ct, x, w, None, [stride] * 2, padding, [1, 1], False, [0, 0], 1, wanted)


def sized(like: Tensor, shape: list[int]) -> Tensor:
    """Stands for a tensor of which only the shape is read."""
    return like.new_empty(1).expand(shape)


def conv2d_grad_input(a: Attrs) -> Function:
    stride, (padding, before) = a["stride"], conv_padding(a)
    batch, channels, height, width = a["inputShape"]
    left, right, top, bottom = before or [0, 0, 0, 0]
    shape = [batch, channels, height + top + bottom, width + left + right]

    def run(ct: Tensor, w: Tensor) -> Tensor:
        dx = conv_backward(ct, sized(ct, shape), w, stride, padding, [True, False, False])[0]
        return dx[:, :, top : top + height, left : left + width]

    return run


def conv2d_grad_weight(a: Attrs) -> Function:
    stride, (padding, before) = a["stride"], conv_padding(a)

    def run(x: Tensor, ct: Tensor) -> Tensor:
        w = sized(ct, [ct.shape[1], x.shape[1], *a["kernel"]])
        return conv_backward(ct, padded(x, before), w, stride, padding, [False, True, False])[1]

    return run


def slices(a: Attrs) -> Function:
    index = tuple(slice(start, end) for start, end in zip(a["starts"], a["ends"]))
    return lambda x: x[index]


def pad(a: Attrs) -> Function:
    # From the last axis to the first.
    amounts = [n for pair in zip(reversed(a["before"]), reversed(a["after"])) for n in pair]
    return lambda x: functional.pad(x, amounts)


def gather(table: Tensor, indices: Tensor) -> Tensor:
    return table.index_select(0, indices.flatten()).reshape(*indices.shape, *table.shape[1:])


def scatter_add(a: Attrs) -> Function:
    def run(updates: Tensor, indices: Tensor) -> Tensor:
        row = updates.shape[indices.dim() :]
        zeros = updates.new_zeros(a["rows"], *row)
        return zeros.index_add_(0, indices.flatten(), updates.reshape(-1, *row))

    return run


# Statistics of the norms are float32 whatever the activations are: on the CPU that takes float32 scales, and group norm's kernel
# for GPUs would round its statistics to the activations' type.
def layer_norm_params(x: Tensor, *params: Tensor) -> list[Tensor]:
    return [p.to(torch.float32 if x.device.type == "cpu" else x.dtype) for p in params]


def layer_norm(a: Attrs) -> Function:
    def run(x: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        y, *kept = torch.native_layer_norm(x, x.shape[-1:], *layer_norm_params(x, scale, bias), a["eps"])
        return y, kept

    return run


def layer_norm_grad(ct: Tensor, x: Tensor, scale: Tensor, kept: Any) -> Tensor:
    (scale,) = layer_norm_params(x, scale)
    return aten.native_layer_norm_backward(ct, x, x.shape[-1:], *kept, scale, scale, [True, False, False])[0]


def normalize(a: Attrs) -> Function:
    return lambda x: torch.native_layer_norm(x, x.shape[-1:], None, None, a["eps"])[::2]


def normalize_grad(ct: Tensor, normalized: Tensor, inv_std: Tensor) -> Tensor:
    along = normalized * (ct * normalized).mean(-1, keepdim=True)
    return inv_std * (ct - ct.mean(-1, keepdim=True) - along)


def widened(x: Tensor) -> Tensor:
    """In one pass over memory."""
    return x.to(torch.float32, memory_format=torch.contiguous_format).contiguous()


def group_norm(a: Attrs) -> Function:
    def run(x: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        batch, channels, *pixels = x.shape
        sizes = (batch, channels, math.prod(pixels), a["groups"])
        y, *kept = torch.native_group_norm(widened(x), scale.float(), bias.float(), *sizes, a["eps"])
        return y.to(x.dtype), kept

    return run


def group_norm_grad(a: Attrs) -> Function:
    def run(ct: Tensor, x: Tensor, scale: Tensor, kept: Any) -> Tensor:
        batch, channels, *pixels = x.shape
        sizes = (batch, channels, math.prod(pixels), a["groups"])
        wanted = [True, False, False]
        dx = aten.native_group_norm_backward(widened(ct), widened(x), *kept, scale.float(), *sizes, wanted)[0]
        return dx.to(x.dtype)

    return run


# Attention goes through PyTorch's own choice of kernel (flash, memory-efficient, cuDNN, MPS, plain) with its gradient, for which it
# keeps what that kernel needs: the output and a number a row, never the attention weights where a fused kernel runs.
def attention(a: Attrs) -> Function:
    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (q, k, v)]
            y = functional.scaled_dot_product_attention(*leaves, attn_mask=mask, scale=a["scale"])
        return y.detach(), (y, leaves)

    return run


def attention_grad(ct: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    y, leaves = inputs[-1]
    return torch.autograd.grad(y, leaves, ct, retain_graph=True)


OPS: dict[str, Callable[[Attrs], Function]] = {
    "Add": plain(operator.add),
    "Sub": plain(operator.sub),
    "Mul": plain(operator.mul),
    "Div": plain(operator.truediv),
    "Min": plain(torch.minimum),
    "Max": plain(torch.maximum),
    "Neg": plain(torch.neg),
    "Exp": plain(torch.exp),
    "Log": plain(torch.log),
    "Sqrt": plain(torch.sqrt),
    "Sin": plain(torch.sin),
    "Cos": plain(torch.cos),
    "Erf": plain(torch.erf),
    "Tanh": plain(torch.tanh),
    "Sigmoid": plain(torch.sigmoid),
    "Cast": lambda a: lambda x: x.to(DTYPES[a["dtype"]]),
    "Silu": plain(functional.silu),
    "SiluGrad": plain(lambda x, ct: aten.silu_backward(ct, x)),
    "Gelu": plain(functional.gelu),
    "GeluGrad": plain(lambda x, ct: aten.gelu_backward(ct, x)),
    "QuickGelu": plain(lambda x: x * torch.sigmoid(x * QUICK_GELU_SLOPE)),
    "QuickGeluGrad": plain(quick_gelu_grad),
    "ReduceSum": reduction(torch.sum),
    "ReduceMax": reduction(torch.amax),
    "MatMul": matmul,
    "Conv2d": conv2d,
    "Conv2dGradInput": conv2d_grad_input,
    "Conv2dGradWeight": conv2d_grad_weight,
    "Reshape": lambda a: lambda x: x.reshape(a["shape"]),
    "Transpose": lambda a: lambda x: x.permute(a["perm"]),
    "Expand": lambda a: lambda x: x.expand(a["shape"]),
    "Slice": slices,
    "Pad": pad,
    "Concat": lambda a: lambda *xs: torch.cat(xs, a["axis"]),
    "UpsampleNearest": lambda a: lambda x: functional.interpolate(x, scale_factor=a["scale"]),
    "Gather": plain(gather),
    "ScatterAdd": scatter_add,
    "Softmax": plain(lambda x: torch.softmax(x, -1)),
    "SoftmaxGrad": plain(lambda y, ct: aten._softmax_backward_data(ct, y, -1, y.dtype)),
    "Normalize": normalize,
    "NormalizeGrad": plain(normalize_grad),
    "LayerNorm": layer_norm,
    "LayerNormGrad": plain(layer_norm_grad),
    "GroupNorm": group_norm,
    "GroupNormGrad": group_norm_grad,
    "Attention": attention,
    "AttentionGrad": plain(attention_grad),
    "Dequantise": lambda a: lambda x: dequantise(x, DTYPES[a["dtype"]]),
    "AllReduceMean": plain(parallel.average),
}
