"""Trains the same LoRA with Gesso's command line and with diffusers and PEFT, step by step, and compares loss, gradient norm and result.

    python interop/compare_training.py
    python interop/compare_training.py --family sdxl --variant locon --steps 50

Both begin with the same random base model, saved by diffusers, and the same pictures and captions. Everything else each side makes
for itself: latents, text embeddings, noise, timesteps, the order of the pictures and the adapters' first numbers; the Python side
has Gesso's random generator written anew.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from parity.quiet import be_quiet  # isort: skip: before the libraries that it keeps quiet

from parity.dataset import save_pictures
from parity.gesso_training import find_targets, train_with_gesso
from parity.peft_training import Settings, Training, train
from parity.random_base import load_base, save_random_base
from parity.report import Report

LOSS_BOUND = 1e-3
NORM_BOUND = 1e-2
CHANGE_BOUND = 1e-2

VARIANTS = {
    "unet": Settings(),
    "text": Settings(text_rate=1e-3),
    "locon": Settings(targets="locon"),
}
ABOUT_VARIANTS = """unet: attention and feed-forward layers of the UNet; text: these and both text encoders'; locon: these
and the convolutions; default: all"""


def main() -> None:
    options = parse_options()
    be_quiet()
    report = Report(f"{options.steps} LoRA training steps, Gesso and diffusers with PEFT, float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in options.family:
            base = save_random_base(folder / family, family)
            pictures = save_pictures(folder / f"{family}-pictures", 64)
            for variant in options.variant:
                settings = dataclasses.replace(VARIANTS[variant], steps=options.steps)
                theirs = train(load_base(base), pictures, find_targets(base, settings), settings)
                ours, _ = train_with_gesso(base, pictures, folder / "runs", f"{family}-{variant}", settings)
                compare(report, f"{family}, {variant}", ours, theirs, options.print_losses)
    report.finish()


def compare(report: Report, what: str, ours: Training, theirs: Training, print_losses: bool) -> None:
    if print_losses:
        for step, (a, b) in enumerate(zip(ours.losses, theirs.losses, strict=True), 1):
            report.say(f"{what}: loss of step {step}", f"{a:.7f} Gesso, {b:.7f} diffusers")
    first, last = theirs.losses[0], theirs.losses[-1]
    report.say(f"{what}: {len(ours.changes)} layers, diffusers' loss", f"{first:.4f} at the first step, {last:.4f} at the last")
    report.at_most(f"{what}: loss, worst step, relative", worst(ours.losses, theirs.losses), LOSS_BOUND)
    report.at_most(f"{what}: gradient norm, worst step, relative", worst(ours.grad_norms, theirs.grad_norms), NORM_BOUND)
    report.at_most(f"{what}: what all layers learnt, relative norm", learnt_difference(ours, theirs), CHANGE_BOUND)


def worst(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))


def learnt_difference(ours: Training, theirs: Training) -> float:
    if ours.changes.keys() != theirs.changes.keys():
        raise SystemExit(f"other layers: {sorted(ours.changes.keys() ^ theirs.changes.keys())[:5]}")
    difference = sum((ours.changes[path] - theirs.changes[path]).square().sum() for path in ours.changes)
    return (difference / sum(change.square().sum() for change in theirs.changes.values())).sqrt().item()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", choices=["sdxl", "sd15"], default=["sdxl", "sd15"])
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS), help=ABOUT_VARIANTS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--print-losses", action="store_true", help="print both losses of every step")
    return parser.parse_args()


if __name__ == "__main__":
    main()
