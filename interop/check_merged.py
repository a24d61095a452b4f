#!/usr/bin/env python3
"""Compares a merged or extracted adapter with the adapters it was made of, in diffusers: the UNet's and text encoders' outputs, by norm.

Usage: python interop/check_merged.py --base models/mini --merged MERGED --of A.safetensors:0.8 --of B.safetensors:0.5
Prints, for each network, |merged - together| / |together - base| (0 is the same) and how far the adapters move it. Exit code 1 above --bound.
Needs: pip install -r interop/requirements.txt
"""
import argparse
import sys

import torch
from diffusers import DiffusionPipeline


def outputs(options: argparse.Namespace, adapters: list[tuple[str, float]]) -> dict[str, torch.Tensor]:
    """What the networks give for fixed random input with the adapters loaded."""
    pipeline = DiffusionPipeline.from_pretrained(options.base, torch_dtype=torch.float32, local_files_only=True)
    names = [f"a{i}" for i in range(len(adapters))]
    for name, (path, _) in zip(names, adapters):
        pipeline.load_lora_weights(path, adapter_name=name)
    if adapters:
        pipeline.set_adapters(names, [weight for _, weight in adapters])
    generator = torch.Generator().manual_seed(1)
    prompt = pipeline.encode_prompt("a red apple", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    found = {"text": prompt[0]}
    latents = torch.randn(1, pipeline.unet.config.in_channels, 16, 16, generator=generator)
    width = pipeline.unet.config.cross_attention_dim
    text = torch.randn(1, 32, width, generator=generator)
    added = {}
    if len(prompt) > 2:
        found["pooled"] = prompt[2]
        pooled = torch.randn(prompt[2].shape, generator=generator)
        added = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.tensor([[128.0, 128, 0, 0, 128, 128]])}}
    with torch.no_grad():
        found["unet"] = pipeline.unet(latents, 500, text, **added).sample
    return {name: value.detach() for name, value in found.items()}


def parse(text: str) -> tuple[str, float]:
    """FILE or FILE:WEIGHT."""
    path, _, weight = text.rpartition(":")
    return (path, float(weight)) if path else (text, 1.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="models/mini")
    parser.add_argument("--merged", required=True)
    parser.add_argument("--of", action="append", required=True)
    parser.add_argument("--bound", type=float, default=1e-3)
    options = parser.parse_args()
    plain = outputs(options, [])
    together = outputs(options, [parse(text) for text in options.of])
    merged = outputs(options, [parse(options.merged)])
    fine = True
    for name, base in plain.items():
        moved = (together[name] - base).norm().item()
        miss = (merged[name] - together[name]).norm().item()
        fine = fine and miss <= options.bound * max(moved, 1e-12) if moved > 0 else fine and miss == 0
        print(f"{name:8} moved {moved / base.norm().item():.3e} of its norm; merged is off by {miss / moved if moved else 0:.3e} of that")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
