"""Compares the UNet of SDXL or SD 1.5 at its full size, with random weights, in Gesso and in diffusers: float32, one forward pass.

    python interop/compare_full_width.py --family sdxl
    python interop/compare_full_width.py --family sd15 --size 64

The two run one after the other, each in a process of its own, for each needs the weights in float32: 10.3 GB for SDXL, 3.4 GB for
SD 1.5. The base model is made by `npm run bench -- make-sdxl` when it is not there yet (7 GB on disk; SD 1.5: 2 GB).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parity.gesso import ROOT, run, run_half

BOUND = 1e-4
TOKENS = 77


def main() -> None:
    options = parse_options()
    base = options.out / options.family
    if options.half is not None:
        predict_with_diffusers(base, options.size, options.half)
        return
    if not (base / "model_index.json").exists():
        print(run(ROOT / "bench/main.ts", f"make-{options.family}", "--form", "folder", "--out", options.out))
    with tempfile.TemporaryDirectory() as folder:
        case, ours = Path(folder) / "case.safetensors", Path(folder) / "ours.safetensors"
        own = [sys.executable, __file__, "--half", str(case), "--family", options.family]
        theirs_took = timed(lambda: subprocess.run([*own, "--size", str(options.size), "--out", str(options.out)], check=True))
        ours_took = timed(lambda: run_half("unet-forward.ts", base, case, ours))
        compare(options, case, ours, theirs_took, ours_took)


def compare(options: argparse.Namespace, case: Path, ours: Path, theirs_took: str, ours_took: str) -> None:
    from safetensors.torch import load_file

    from parity.report import Report, relative

    expected, actual = load_file(case)["prediction"], load_file(ours)["prediction"]
    report = Report(f"UNet of {options.family} at full width, {options.size} x {options.size} latents, float32, random weights")
    report.say("diffusers", theirs_took)
    report.say("Gesso", ours_took)
    report.say("norm of the prediction, root mean square", f"{expected.square().mean().sqrt():.4f}")
    report.say("largest difference of one number", f"{(actual - expected).abs().max():.1e}")
    report.at_most("relative norm of the difference", relative(actual, expected), BOUND)
    report.finish()


def timed(act) -> str:
    """Seconds, and the most memory that any process until now has taken."""
    start = time.monotonic()
    act()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return f"{time.monotonic() - start:.0f} s with loading; largest process so far {peak / 1e9:.1f} GB"


def predict_with_diffusers(base: Path, size: int, file: Path) -> None:
    """Writes inputs and prediction to the file."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    torch.set_num_threads(os.cpu_count() or 1)
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32, low_cpu_mem_usage=True)
    generator = torch.Generator().manual_seed(11)
    config = unet.config
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    inputs = {
        "sample": draw(1, config.in_channels, size, size),
        "timesteps": torch.tensor([601.0]),
        "encoder_hidden_states": draw(1, TOKENS, config.cross_attention_dim),
    }
    added = {}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"text_embeds": draw(1, pooled), "time_ids": torch.tensor([[1024.0, 768, 0, 128, 1024, 1024]])}
    with torch.no_grad():
        prediction = unet(
            inputs["sample"], inputs["timesteps"], inputs["encoder_hidden_states"], added_cond_kwargs=added or None
        ).sample
    save_file({**inputs, **added, "prediction": prediction}, file)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["sdxl", "sd15"], default="sdxl")
    parser.add_argument("--size", type=int, default=32, help="side of the latents; default: 32, a picture of 256 px")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache/full-size", help="where the base model is; default: .cache/full-size")
    parser.add_argument("--half", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
