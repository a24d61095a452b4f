"""What each operator of the graph runs as: one table, with a key for every operator of src/graph/ops.ts.

An entry takes the node's attributes and gives the function that a step calls with the node's inputs. The composites run as
PyTorch's own kernels. `KEPT` holds forms of some operators that also give what their gradient would otherwise calculate again, and
`WITH_KEPT` the gradients that take it: src/engines/torch/serialize.ts pairs the two where a graph has both.
"""

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


def without_kept(make: Callable[[Attrs], Function]) -> Callable[[Attrs], Function]:
    def made(a: Attrs) -> Function:
        function = make(a)
        return lambda *inputs: function(*inputs)[0]

    return made


def least(a: Any, b: Any) -> Tensor:
    """One of the two may be a number."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(a, b)
    return a.clamp(max=b) if isinstance(a, Tensor) else b.clamp(max=a)


def most(a: Any, b: Any) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return a.clamp(min=b) if isinstance(a, Tensor) else b.clamp(min=a)


def quick_gelu_grad(x: Tensor, ct: Tensor) -> Tensor:
    gate = torch.sigmoid(x * QUICK_GELU_SLOPE)
    return ct * gate * (1 + x * QUICK_GELU_SLOPE * (1 - gate))


def reduction(function: Function) -> Callable[[Attrs], Function]:
    return lambda a: lambda x: function(x, a["axes"], keepdim=a["keepDims"])


def matmul(a: Attrs) -> Function:
    trans_a, trans_b = a["transA"], a["transB"]
    return lambda x, y: torch.matmul(x.mT if trans_a else x, y.mT if trans_b else y)


def conv_padding(a: Attrs) -> tuple[list[int], list[int] | None]:
    """What the kernels pad by themselves, alike on opposite sides, or all four sides for `functional.pad` to do before."""
    top, left, bottom, right = a["padding"]
    if top == bottom and left == right:
        return [top, left], None
    return [0, 0], [left, right, top, bottom]


def conv2d(a: Attrs) -> Function:
    stride, (padding, before) = a["stride"], conv_padding(a)
    if before is None:
        return lambda x, w, bias=None: torch.conv2d(x, w, bias, stride, padding)
    return lambda x, w, bias=None: torch.conv2d(functional.pad(x, before), w, bias, stride)


def conv_backward(ct: Tensor, x: Tensor, w: Tensor, stride: int, padding: list[int], wanted: list[bool]) -> list[Tensor]:
    return aten.convolution_backward(ct, x, w, None, [stride] * 2, padding, [1, 1], False, [0, 0], 1, wanted)


def sized(like: Tensor, shape: list[int]) -> Tensor:
    """Stands for a tensor of which only the shape is read."""
    return like.new_empty(1).expand(shape)


def conv2d_grad_input(a: Attrs) -> Function:
    stride, (padding, before) = a["stride"], conv_padding(a)
    batch, channels, height, width = a["inputShape"]
    left, right, top, bottom = before or [0, 0, 0, 0]
    padded = [batch, channels, height + top + bottom, width + left + right]

    def run(ct: Tensor, w: Tensor) -> Tensor:
        dx = conv_backward(ct, sized(ct, padded), w, stride, padding, [True, False, False])[0]
        return dx if before is None else dx[:, :, top : top + height, left : left + width]

    return run


def conv2d_grad_weight(a: Attrs) -> Function:
    stride, (padding, before) = a["stride"], conv_padding(a)
    kernel = list(a["kernel"])

    def run(x: Tensor, ct: Tensor) -> Tensor:
        x = x if before is None else functional.pad(x, before)
        w = sized(ct, [ct.shape[1], x.shape[1], *kernel])
        return conv_backward(ct, x, w, stride, padding, [False, True, False])[1]

    return run


def slices(a: Attrs) -> Function:
    index = tuple(slice(start, end) for start, end in zip(a["starts"], a["ends"]))
    return lambda x: x[index]


def pad(a: Attrs) -> Function:
    # From the last axis to the first.
    amounts = [n for pair in zip(reversed(a["before"]), reversed(a["after"])) for n in pair]
    return lambda x: functional.pad(x, amounts)


def upsample(a: Attrs) -> Function:
    scale = a["scale"]

    def run(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grown = x[:, :, :, None, :, None].expand(batch, channels, height, scale, width, scale)
        return grown.reshape(batch, channels, height * scale, width * scale)

    return run


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
    return [p.float() for p in params] if x.device.type == "cpu" else [p.to(x.dtype) for p in params]


def normalize(a: Attrs) -> Function:
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        y, _, inv_std = torch.native_layer_norm(x, x.shape[-1:], None, None, a["eps"])
        return y, inv_std

    return run


def normalize_grad(ct: Tensor, normalized: Tensor, inv_std: Tensor) -> Tensor:
    along = normalized * (ct * normalized).mean(-1, keepdim=True)
    return inv_std * (ct - ct.mean(-1, keepdim=True) - along)


def layer_norm_kept(a: Attrs) -> Function:
    def run(x: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        scale, bias = layer_norm_params(x, scale, bias)
        y, mean, inv_std = torch.native_layer_norm(x, x.shape[-1:], scale, bias, a["eps"])
        return y, (mean, inv_std)

    return run


def layer_norm_grad_with_kept(a: Attrs) -> Function:
    def run(ct: Tensor, x: Tensor, scale: Tensor, kept: Any) -> Tensor:
        (scale,) = layer_norm_params(x, scale)
        mean, inv_std = kept
        wanted = [True, False, False]
        return aten.native_layer_norm_backward(ct, x, x.shape[-1:], mean, inv_std, scale, scale, wanted)[0]

    return run


def layer_norm_grad(a: Attrs) -> Function:
    forward, backward = layer_norm_kept(a), layer_norm_grad_with_kept(a)
    return lambda ct, x, scale: backward(ct, x, scale, forward(x, scale, scale)[1])


def group_norm_kept(a: Attrs) -> Function:
    def run(x: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        batch, channels = x.shape[:2]
        wide, pixels = x.float().contiguous(), x.numel() // (batch * channels)
        y, mean, inv_std = torch.native_group_norm(
            wide, scale.float(), bias.float(), batch, channels, pixels, a["groups"], a["eps"]
        )
        return y.to(x.dtype), (mean, inv_std)

    return run


def group_norm_grad_with_kept(a: Attrs) -> Function:
    def run(ct: Tensor, x: Tensor, scale: Tensor, kept: Any) -> Tensor:
        batch, channels = x.shape[:2]
        sizes = (batch, channels, x.numel() // (batch * channels), a["groups"])
        wide, wide_ct = x.float().contiguous(), ct.float().contiguous()
        wanted = [True, False, False]
        dx = aten.native_group_norm_backward(wide_ct, wide, *kept, scale.float(), *sizes, wanted)[0]
        return dx.to(x.dtype)

    return run


def group_norm_grad(a: Attrs) -> Function:
    forward, backward = group_norm_kept(a), group_norm_grad_with_kept(a)
    return lambda ct, x, scale: backward(ct, x, scale, forward(x, scale, scale)[1])


# Attention goes through PyTorch's own choice of kernel (flash, memory-efficient, cuDNN, MPS, plain) with its gradient, for which it
# keeps what that kernel needs: the output and a number a row, never the attention weights where a fused kernel runs.
def attention(a: Attrs) -> Function:
    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=a["scale"])

    return run


def attention_kept(a: Attrs) -> Function:
    forward = attention(a)

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (q, k, v)]
            y = forward(*leaves, mask)
        return y.detach(), (y, leaves)

    return run


def attention_grad_with_kept(_: Attrs) -> Function:
    def run(ct: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        y, leaves = inputs[-1]
        return torch.autograd.grad(y, leaves, ct, retain_graph=True)

    return run


def attention_grad(a: Attrs) -> Function:
    forward, backward = attention_kept(a), attention_grad_with_kept(a)
    return lambda ct, *inputs: backward(ct, forward(*inputs)[1])


def adamw(a: Attrs) -> Function:
    """Where it does more than to update its own buffers; the others are done all at once, in place (see optimizer.py)."""

    def run(w: Tensor, m: Tensor, v: Tensor, g: Tensor, rate: Tensor, c1: Tensor, c2: Tensor) -> tuple[Tensor, ...]:
        m = m * a["beta1"] + g * (1 - a["beta1"])
        v = v * a["beta2"] + g * g * (1 - a["beta2"])
        denominator = v.sqrt() / c2.sqrt() + a["eps"]
        return w * (1 - rate * a["weightDecay"]) - rate / c1 * (m / denominator), m, v

    return run


def leaf(_: Attrs) -> Function:
    raise AssertionError("inputs and constants are there before a step")


OPS: dict[str, Callable[[Attrs], Function]] = {
    "Input": leaf,
    "Constant": leaf,
    "Add": plain(operator.add),
    "Sub": plain(operator.sub),
    "Mul": plain(operator.mul),
    "Div": plain(operator.truediv),
    "Min": plain(least),
    "Max": plain(most),
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
    "UpsampleNearest": upsample,
    "Gather": plain(gather),
    "ScatterAdd": scatter_add,
    "Softmax": plain(lambda x: torch.softmax(x, -1)),
    "SoftmaxGrad": plain(lambda y, ct: aten._softmax_backward_data(ct, y, -1, y.dtype)),
    "Normalize": normalize,
    "NormalizeGrad": plain(normalize_grad),
    "LayerNorm": without_kept(layer_norm_kept),
    "LayerNormGrad": layer_norm_grad,
    "GroupNorm": without_kept(group_norm_kept),
    "GroupNormGrad": group_norm_grad,
    "Attention": attention,
    "AttentionGrad": attention_grad,
    "Dequantise": lambda a: lambda x: dequantise(x, DTYPES[a["dtype"]]),
    "AllReduceMean": plain(lambda *xs: parallel.average(*xs) if len(xs) > 1 else parallel.average(*xs)[0]),
    "AdamW": adamw,
}

# The last output is what is kept; it is no tensor of the graph.
KEPT: dict[str, Callable[[Attrs], Function]] = {
    "LayerNorm": layer_norm_kept,
    "GroupNorm": group_norm_kept,
    "Attention": attention_kept,
}
# The last input is what was kept.
WITH_KEPT: dict[str, Callable[[Attrs], Function]] = {
    "LayerNormGrad": layer_norm_grad_with_kept,
    "GroupNormGrad": group_norm_grad_with_kept,
    "AttentionGrad": attention_grad_with_kept,
}
