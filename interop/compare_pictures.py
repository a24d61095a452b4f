"""Draws the same pictures with `gesso sample` and with diffusers' pipelines, from the same noise, and compares them byte by byte.

    python interop/compare_pictures.py
    python interop/compare_pictures.py --base mini --sampler euler --prompt "a green leaf, noto style" --save .cache/pictures

20 steps of Euler and of DPM++ 2M Karras with guidance, without and with an adapter that Gesso trains in a few steps and diffusers
loads. Bases: models/mini, and a small random model in the shape of SD 1.5. The noise is Gesso's for the seed, which the Python side
makes for itself.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from parity.quiet import be_quiet  # isort: skip: before the libraries that it keeps quiet

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from generate import SAMPLERS
from parity import philox
from parity.dataset import save_pictures
from parity.gesso import ROOT, run_gesso
from parity.gesso_training import train_with_gesso
from parity.peft_training import Settings
from parity.random_base import load_base, save_random_base
from parity.report import Report

BOUND = 2
# Pictures that an adapter changes by less than this on average would not show whether it acts.
LEAST_CHANGE = 1.0
SETTINGS = Settings(steps=6, learning_rate=5e-3)
GUIDANCE = 5.0


def main() -> None:
    options = parse_options()
    be_quiet()
    report = Report(f"Pictures of {options.steps} steps, guidance {GUIDANCE:g}, from the same noise; differences of bytes, of 255")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in options.base:
            base = ROOT / "models/mini" if kind == "mini" else save_random_base(folder / kind, "sd15")
            pipeline = load_base(base)
            side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
            settings = dataclasses.replace(SETTINGS, learning_rate=1e-3) if kind == "mini" else SETTINGS
            _, adapter = train_with_gesso(base, save_pictures(folder / f"{kind}-data", side), folder / "runs", kind, settings)
            drawn = {name: compare_all(report, kind, base, pipeline, name, adapter, options) for name in options.sampler}
            for sampler, (plain, adapted) in drawn.items():
                report.at_least(f"{kind}, {sampler}: mean change by the adapter", mean(plain, adapted), LEAST_CHANGE)
    report.finish()


def compare_all(
    report: Report, kind: str, base: Path, pipeline: DiffusionPipeline, sampler: str, adapter: Path, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Compares without and with the adapter; returns diffusers' two pictures."""
    pictures = []
    for lora in (None, adapter):
        name = f"{kind}, {sampler}, {'with' if lora else 'without'} LoRA"
        out = (options.save or adapter.parent) / f"{name.replace(', ', '-').replace(' ', '-')}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        ours = draw_with_gesso(base, sampler, lora, options, out)
        theirs = draw_with_diffusers(pipeline, sampler, lora, options)
        if options.save is not None:
            Image.fromarray(theirs).save(out.with_name(f"{out.stem}-diffusers.png"))
        report.at_most(f"{name}: largest difference", int(np.abs(ours.astype(int) - theirs).max()), BOUND)
        report.say(f"{name}: mean difference; spread of the picture", f"{mean(ours, theirs):.3f}; {theirs.std():.0f}")
        pictures.append(theirs)
    return pictures[0], pictures[1]


def mean(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def draw_with_gesso(base: Path, sampler: str, lora: Path | None, options: argparse.Namespace, out: Path) -> np.ndarray:
    given = {"base": base, "prompt": options.prompt, "seed": options.seed, "steps": options.steps, "cfg": GUIDANCE}
    given |= {"sampler": sampler, "out": out, **({"lora": lora} if lora else {})}
    run_gesso("sample", *(f"--{key}={value}" for key, value in given.items()))
    return np.asarray(Image.open(out).convert("RGB"))


def draw_with_diffusers(pipeline: DiffusionPipeline, sampler: str, lora: Path | None, options: argparse.Namespace) -> np.ndarray:
    cls, settings = SAMPLERS[sampler]
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **settings)
    if lora is not None:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
    side, channels = pipeline.unet.config.sample_size, pipeline.unet.config.in_channels
    noise = torch.from_numpy(philox.normal("noise", channels * side**2, seed=options.seed)).view(1, channels, side, side)
    sides = {"height": side * pipeline.vae_scale_factor, "width": side * pipeline.vae_scale_factor}
    common = {"prompt": options.prompt, "negative_prompt": "", "num_inference_steps": options.steps, "guidance_scale": GUIDANCE}
    picture = pipeline(**common, **sides, latents=noise).images[0]
    if lora is not None:
        pipeline.unload_lora_weights()
    return np.asarray(picture)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", nargs="+", choices=["mini", "sd15"], default=["mini", "sd15"])
    parser.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--prompt", default="a red apple, noto style")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save", type=Path, help="a folder to keep the pictures in")
    return parser.parse_args()


if __name__ == "__main__":
    main()
