"""Forward and backward of SDXL's blocks in PyTorch, base weights frozen, LoRA by PEFT on the linear layers: float32 on the CPU.

    python bench/torch/blocks.py transformer    BasicTransformerBlock: width 640, 10 heads, 4096 tokens, text [1, 77, 2048]
    python bench/torch/blocks.py resnet         ResnetBlock2D: 320 channels, 64 x 64, time embedding [1, 1280]

Prints one line of JSON. Gradients are taken for the adapters and for the block's input, as inside a network.
"""

import argparse
import json
from collections.abc import Callable

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from peft import LoraConfig, inject_adapter_in_model

from measure import measure_steps, randomise_up

TARGETS = {
    "transformer": ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"],
    "resnet": ["time_emb_proj"],
}
TEXT_TOKENS, TEXT_WIDTH, TIME_WIDTH = 77, 2048, 1280


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    width = options.width or {"transformer": 640, "resnet": 320}[options.block]
    block, forward, shape = {"transformer": make_transformer, "resnet": make_resnet}[options.block](width, options.size)
    block.requires_grad_(False)
    block = inject_adapter_in_model(LoraConfig(r=options.rank, target_modules=TARGETS[options.block]), block)
    trained = randomise_up(block)
    x = torch.randn(shape).requires_grad_()
    cotangent = torch.randn(shape) / x.numel()

    def step() -> float:
        block.zero_grad(set_to_none=True)
        x.grad = None
        loss = (forward(x) * cotangent).sum()
        loss.backward()
        return loss.item()

    result = measure_steps(step, options.warmup, options.steps)
    about = {"engine": f"torch {torch.__version__}", "block": options.block, "width": width}
    about |= {"size": options.size, "rank": options.rank}
    print(json.dumps({**about, "threads": options.threads, "trainedNumbers": trained, **result}))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("block", choices=TARGETS)
    parser.add_argument("--width", type=int, help="by default 640 for the transformer, 320 for the resnet")
    parser.add_argument("--size", type=int, default=64, help="side of the latents")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


Made = tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]


def make_transformer(width: int, size: int) -> Made:
    """Heads of 64 numbers, as everywhere in SDXL."""
    block = BasicTransformerBlock(width, width // 64, 64, cross_attention_dim=TEXT_WIDTH)
    text = torch.randn(1, TEXT_TOKENS, TEXT_WIDTH)
    return block, lambda x: block(x, encoder_hidden_states=text), (1, size * size, width)


def make_resnet(width: int, size: int) -> Made:
    block = ResnetBlock2D(in_channels=width, out_channels=width, temb_channels=TIME_WIDTH, groups=32, eps=1e-5)
    time = torch.randn(1, TIME_WIDTH)
    return block, lambda x: block(x, time), (1, width, size, size)


if __name__ == "__main__":
    main()
