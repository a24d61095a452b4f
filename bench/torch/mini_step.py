"""A LoRA training step of a UNet in PyTorch, as diffusers and PEFT do it: float32 on the CPU, if not said otherwise. Prints one line of JSON.

    python bench/torch/mini_step.py models/mini/unet/config.json --batch 4 --size 16 --threads 2

In narrow types frozen weights are narrow, adapters float32 and the step runs under autocast, as in diffusers' own training scripts.

The weights are random: they do not change what a step costs. One step is forward, mean squared error, backward and AdamW.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch.nn.functional import mse_loss

from measure import measure_steps, randomise_up

# What Gesso calls so; attention, feed-forward, and the projections around them are its default.
TARGETS = {
    "attention": ["to_q", "to_k", "to_v", "to_out.0"],
    "attention+ff": ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"],
}
TEXT_TOKENS = 77
TIME_IDS = 6


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = json.loads(options.config.read_text(encoding="utf-8"))
    dtype = getattr(torch, options.dtype)
    with torch.device(options.device):
        unet = UNet2DConditionModel.from_config(config).to(dtype)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=options.rank, lora_alpha=options.rank, target_modules=TARGETS[options.targets]))
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    unet.train()
    if options.checkpointing:
        unet.enable_gradient_checkpointing()
    if options.channels_last:
        unet.to(memory_format=torch.channels_last)
    trained = randomise_up(unet)
    trained_ones = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained_ones, lr=1e-4, weight_decay=0.01)
    device = torch.device(options.device)
    inputs, target = make_batch(unet.config, options)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = mse_loss(unet(**inputs).sample.float(), target)
        loss.backward()
        if options.targets == "attention":
            torch.nn.utils.clip_grad_norm_(trained_ones, 1.0)
        optimizer.step()
        return loss.item()

    result = measure_steps(step, options.warmup, options.steps)
    about = {"engine": f"torch {torch.__version__}", "batch": options.batch, "size": options.size, "rank": options.rank}
    if device.type == "cuda":
        about |= {"device": torch.cuda.get_device_name(device), "peakDeviceBytes": torch.cuda.max_memory_allocated(device)}
    print(json.dumps({**about, "threads": options.threads, "trainedNumbers": trained, **result}))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="config.json of a UNet2DConditionModel")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, help="side of the latents; by default the config's sample_size")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=TEXT_TOKENS, help="length of the text")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--targets", default="attention+ff", choices=TARGETS)
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--channels-last", action="store_true", help="keep channels last, which may be faster")
    options = parser.parse_args()
    if options.size is None:
        options.size = json.loads(options.config.read_text(encoding="utf-8"))["sample_size"]
    return options


def make_batch(config, options: argparse.Namespace) -> tuple[dict, torch.Tensor]:
    """Random inputs of one step, and the noise to predict."""
    batch, size = options.batch, options.size
    inputs = {
        "sample": torch.randn(batch, config.in_channels, size, size),
        "timestep": torch.randint(0, 1000, (batch,)),
        "encoder_hidden_states": torch.randn(batch, options.tokens, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - TIME_IDS * config.addition_time_embed_dim
        time_ids = torch.tensor([[128.0, 128, 0, 0, 128, 128]]).repeat(batch, 1)
        inputs["added_cond_kwargs"] = {"text_embeds": torch.randn(batch, pooled), "time_ids": time_ids}
    inputs = {name: to_device(value, options) for name, value in inputs.items()}
    return inputs, torch.randn(batch, config.out_channels, size, size).to(options.device)


def to_device(value, options: argparse.Namespace):
    if isinstance(value, dict):
        return {name: to_device(part, options) for name, part in value.items()}
    return value.to(options.device, getattr(torch, options.dtype) if value.is_floating_point() else None)


if __name__ == "__main__":
    main()
