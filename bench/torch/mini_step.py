"""A LoRA training step of a UNet in PyTorch, as diffusers and PEFT do it: float32 on the CPU. Prints one line of JSON.

    python bench/torch/mini_step.py models/mini/unet/config.json --batch 4 --size 16 --threads 2

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

# Attention, feed-forward, and the projections around them: what Gesso trains by default.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
TEXT_TOKENS = 77
TIME_IDS = 6


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = json.loads(options.config.read_text(encoding="utf-8"))
    unet = UNet2DConditionModel.from_config(config)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=options.rank, lora_alpha=options.rank, target_modules=TARGETS))
    unet.train()
    if options.checkpointing:
        unet.enable_gradient_checkpointing()
    if options.channels_last:
        unet.to(memory_format=torch.channels_last)
    trained = randomise_up(unet)
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.01)
    inputs, target = make_batch(unet.config, options)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = mse_loss(unet(**inputs).sample, target)
        loss.backward()
        optimizer.step()
        return loss.item()

    result = measure_steps(step, options.warmup, options.steps)
    about = {"engine": f"torch {torch.__version__}", "batch": options.batch, "size": options.size, "rank": options.rank}
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
    return inputs, torch.randn(batch, config.out_channels, size, size)


if __name__ == "__main__":
    main()
