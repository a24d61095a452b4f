#!/usr/bin/env python3
"""Loads a PEFT-style SDXL LoRA into diffusers, and compares what it does with Kohya's file that it was converted from.

Usage: python interop/check_peft.py

Saves a small random SDXL pipeline, writes a LoRA for it with Kohya's names and alphas, has Gesso convert that
(`gesso lora convert --to peft --base FOLDER`), and loads both into diffusers. Prints how many keys were unexpected or missing, and how far
the changed weights are apart. Exit code 0 when nothing is lost.
"""

import argparse
import logging as python_logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import logging
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from fixtures.draw import Draw, randomise

ROOT = Path(__file__).resolve().parent.parent
# Depth, blocks and layer names as in SDXL; widths are toys.
UNET = {
    "sample_size": 8,
    "block_out_channels": [8, 16, 24],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 32,
    "attention_head_dim": [2, 4, 6],
    "use_linear_projection": True,
    "norm_num_groups": 4,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 16,
}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 84, "max_position_embeddings": 16, "projection_dim": 16, "bos_token_id": 82, "eos_token_id": 83}


def make_pipeline(folder: Path) -> StableDiffusionXLPipeline:
    tokenizer_folder = folder / "words"
    tokenizer_folder.mkdir(parents=True)
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789,.-_\u0120")
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (tokenizer_folder / "vocab.json").write_text("{" + ",".join(f'"{word}":{i}' for i, word in enumerate(words)) + "}", encoding="utf-8")
    (tokenizer_folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(tokenizer_folder / "vocab.json"), str(tokenizer_folder / "merges.txt"), model_max_length=16)
    config = CLIPTextConfig(**TEXT)
    vae = AutoencoderKL(block_out_channels=[8, 16], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, norm_num_groups=4)
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=randomise(CLIPTextModel(config), 1),
        text_encoder_2=randomise(CLIPTextModelWithProjection(config), 2),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=randomise(UNet2DConditionModel(**UNET), 3),
        scheduler=EulerDiscreteScheduler(),
    )


def write_kohya(pipeline: StableDiffusionXLPipeline, path: Path) -> int:
    """Every attention and feed-forward layer, at rank 4 and alpha 2, with SDXL's names."""
    draw, tensors = Draw(5), {}
    prefixes = [("lora_unet", pipeline.unet), ("lora_te1", pipeline.text_encoder), ("lora_te2", pipeline.text_encoder_2)]
    for prefix, model in prefixes:
        for name, module in model.named_modules():
            in_transformer = ".attentions." in name or ".layers." in name
            if not (in_transformer and isinstance(module, torch.nn.Linear)):
                continue
            plain = name if prefix == "lora_unet" or name.startswith("text_model.") else f"text_model.{name}"
            key = f"{prefix}_{plain.replace('.', '_')}"
            tensors[f"{key}.lora_down.weight"] = draw.normal(4, module.in_features, scale=0.2)
            tensors[f"{key}.lora_up.weight"] = draw.normal(module.out_features, 4, scale=0.2)
            tensors[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path)
    return len(tensors) // 3


def load(pipeline: StableDiffusionXLPipeline, path: Path) -> tuple[dict[str, torch.Tensor], int]:
    """The change of each layer with the file loaded, and how many of diffusers' messages spoke of unexpected or missing keys."""
    messages: list[str] = []
    handler = python_logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.add_handler(handler)
    pipeline.load_lora_weights(str(path), adapter_name="lora")
    logging.remove_handler(handler)
    changes = {}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        for name, module in getattr(pipeline, component).named_modules():
            if hasattr(module, "get_delta_weight") and "lora" in module.lora_A:
                changes[f"{component}.{name}"] = module.get_delta_weight("lora").detach().clone()
    pipeline.unload_lora_weights()
    return changes, sum("unexpected" in message.lower() or "missing" in message.lower() for message in messages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    logging.set_verbosity_warning()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pipeline = make_pipeline(folder)
        pipeline.save_pretrained(folder / "base")
        for tokenizer in ("tokenizer", "tokenizer_2"):  # transformers 5 saves tokenizer.json alone
            shutil.copytree(folder / "words", folder / "base" / tokenizer, dirs_exist_ok=True)
        layers = write_kohya(pipeline, folder / "kohya.safetensors")
        command = ["npx", "tsx", "src/cli/main.ts", "lora", "convert", folder / "kohya.safetensors", "--to", "peft", "--base", folder / "base", "--out", folder / "peft.safetensors"]
        subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
        tensors = len(load_file(folder / "peft.safetensors"))
        kohya, _ = load(pipeline, folder / "kohya.safetensors")
        peft, complaints = load(pipeline, folder / "peft.safetensors")
    worst = max(((peft[name] - kohya[name]).norm() / kohya[name].norm()).item() for name in kohya if name in peft)
    print(f"{layers} layers written; {tensors} tensors in PEFT's naming")
    print(f"diffusers: {len(kohya)} layers changed by Kohya's file, {len(peft)} by PEFT's; {complaints} complaints of unexpected or missing keys")
    print(f"the two change a layer alike to {worst:.1e} (relative norm, the worst)")
    return 0 if len(peft) == len(kohya) == layers and tensors == 2 * layers and complaints == 0 and worst < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
