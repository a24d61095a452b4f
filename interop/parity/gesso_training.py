"""A training with Gesso's command line, and what it left behind."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from parity.gesso import last_json, run_gesso, run_half
from parity.peft_training import Settings, Training


def find_targets(base: Path, settings: Settings) -> list[str]:
    """Paths of the trained layers, in Gesso's order."""
    return last_json(run_half("targets.ts", base, settings.targets, settings.text_rate))["paths"]


def train_with_gesso(base: Path, pictures: Path, out: Path, name: str, settings: Settings) -> tuple[Training, Path]:
    """What `gesso train` tells, and the adapter file."""
    side = json.loads((base / "unet/config.json").read_text())["sample_size"] * 8
    options = {
        "base": base,
        "name": name,
        "out": out,
        "targets": settings.targets,
        "rank": settings.rank,
        "alpha": settings.alpha,
        "steps": settings.steps,
        "batch": settings.batch,
        "seed": settings.seed,
        "resolution": side,
        "learning-rate": settings.learning_rate,
        "text-encoder-learning-rate": settings.text_rate,
        "max-grad-norm": settings.max_grad_norm,
        "min-snr-gamma": settings.min_snr_gamma,
        "noise-offset": settings.noise_offset,
        "schedule": "constant",
        "warmup": 0,
        "caption-dropout": 0,
        "held-out": 0,
        "checkpoint-every": settings.steps,
        "validate-every": 0,
    }
    text = [f"--{key}={value}" for key, value in options.items()]
    lines = [json.loads(line) for line in run_gesso("train", pictures, *text, "--json").splitlines()]
    steps = [event for event in lines if event["type"] == "step"]
    run_folder = out / name
    trained = load_file(run_folder / f"checkpoints/step-{settings.steps:06}/optimizer.safetensors")
    return (
        Training(
            losses=[event["loss"] for event in steps],
            grad_norms=[event["gradNorm"] for event in steps],
            changes=changes(trained),
        ),
        run_folder / f"{name}.safetensors",
    )


def changes(trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    paths = [key.removeprefix("adapter.").removesuffix(".down") for key in trained if key.endswith(".down")]
    return {path: trained[f"adapter.{path}.up"].flatten(1) @ trained[f"adapter.{path}.down"].flatten(1) for path in paths}
