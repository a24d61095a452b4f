"""Makes the stored numbers of test/parity/fixtures with diffusers, transformers and PyTorch, or checks them.

    python interop/make_fixtures.py                      write all of them
    python interop/make_fixtures.py --only vae clip-l    write some
    python interop/make_fixtures.py --check              compute them in float64, and say how far the stored are off
"""

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import diffusers
import torch

from fixtures.adamw import make_adamw
from fixtures.adapter import make_adapter
from fixtures.adapter_kinds import make_adapter_kinds
from fixtures.clip import make_clip_g, make_clip_l
from fixtures.files import Fixture, worst_difference, write
from fixtures.long_captions import make_long_captions
from fixtures.mini import make_mini
from fixtures.samplers import make_samplers
from fixtures.single_file import make_single_file, make_zero_snr
from fixtures.tokenizer import make_tokenizer
from fixtures.unet import make_unet
from fixtures.vae import make_vae

FIXTURES: dict[str, Callable[[], Fixture]] = {
    "unet-sd15": lambda: make_unet("sd15"),
    "unet-sdxl": lambda: make_unet("sdxl"),
    "vae": lambda: make_vae("vae"),
    "vae-plain": lambda: make_vae("vae-plain"),
    "clip-l": make_clip_l,
    "clip-g": make_clip_g,
    "long-captions": make_long_captions,
    "adapter-kinds": make_adapter_kinds,
    "adapter-sd15": lambda: make_adapter("sd15"),
    "adapter-sdxl": lambda: make_adapter("sdxl"),
    "mini": make_mini,
    "adamw": make_adamw,
    "samplers": make_samplers,
    "tokenizer": make_tokenizer,
    "single-file-sd15": lambda: make_single_file("sd15"),
    "single-file-sdxl": lambda: make_single_file("sdxl"),
    "zero-snr": make_zero_snr,
}
PACKAGES = ["torch", "diffusers", "transformers", "tokenizers", "peft", "lycoris-lora"]


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "test/parity/fixtures", help="default: test/parity/fixtures")
    parser.add_argument("--only", nargs="+", choices=FIXTURES, default=list(FIXTURES), metavar="NAME", help=", ".join(FIXTURES))
    parser.add_argument("--check", action="store_true", help="write nothing; compare with float64")
    options = parser.parse_args()

    diffusers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # sums in one order
    torch.set_default_dtype(torch.float64 if options.check else torch.float32)
    for name in options.only:
        fixture = FIXTURES[name]()
        if options.check:
            for file, (difference, tensor) in worst_difference(fixture, options.out / name).items():
                print(f"{name}/{file}.safetensors: at most {difference:.1e} from float64, in {tensor}")
            continue
        versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
        fixture.json["case"] = {"madeWith": f"interop/make_fixtures.py; {versions}", **fixture.json["case"]}
        print(f"{name}: {write(fixture, options.out / name) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
