"""Trains an adapter with Gesso, loads its file with diffusers' `load_lora_weights`, and compares what both make of it.

    python interop/compare_adapter.py
    python interop/compare_adapter.py --base models/mini --adapter runs/mystyle/mystyle.safetensors

Without --adapter: small random base models in the shapes of SDXL and SD 1.5, each with an adapter on attention and feed-forward
layers, one on the text encoders too, and one on the convolutions (LoCon). diffusers must take every key without a word.
"""

import argparse
import dataclasses
import logging
import tempfile
import warnings
from pathlib import Path

from parity.quiet import be_quiet  # isort: skip: before the libraries that it keeps quiet

import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from parity.dataset import encode_texts, save_pictures
from parity.gesso import run_half
from parity.gesso_training import train_with_gesso
from parity.peft_training import Settings
from parity.random_base import load_base, networks, save_random_base
from parity.report import Report, relative

BOUND = 1e-3
# An adapter that changes next to nothing would be equal in any reading.
LEAST_CHANGE = 1e-2
# A few steps at a high rate: enough to change the output plainly.
SETTINGS = Settings(steps=4, learning_rate=1e-2)
VARIANTS = {
    "unet": SETTINGS,
    "text": dataclasses.replace(SETTINGS, text_rate=1e-2),
    "locon": dataclasses.replace(SETTINGS, targets="locon"),
}
TEXTS = ["a red apple", "a yellow star over the sea"]


def main() -> None:
    options = parse_options()
    be_quiet()
    report = Report("Adapter files written by Gesso, loaded by diffusers")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.adapter is not None:
            compare(report, options.adapter.stem, options.base, options.adapter, folder)
            report.finish()
        for family in options.family:
            base = save_random_base(folder / family, family)
            pictures = save_pictures(folder / f"{family}-pictures", 64)
            for variant in options.variant:
                _, adapter = train_with_gesso(base, pictures, folder / "runs", f"{family}-{variant}", VARIANTS[variant])
                compare(report, f"{family}, {variant}", base, adapter, folder)
    report.finish()


def compare(report: Report, what: str, base: Path, adapter: Path, folder: Path) -> None:
    pipeline = load_base(base)
    case, ours = folder / "case.safetensors", folder / "ours.safetensors"
    inputs = draw_inputs(pipeline)
    save_file(inputs, case)
    run_half("adapter-outputs.ts", base, adapter, case, ours, *TEXTS)
    actual = load_file(ours)
    plain = outputs(pipeline, inputs)
    said = load_watched(pipeline, adapter)
    report.holds(f"{what}: warnings and unexpected keys of diffusers and PEFT", not said, "; ".join(said) or "none")
    check_all_loaded(report, what, pipeline, adapter)
    adapted = outputs(pipeline, inputs)
    for name in plain:
        report.at_most(f"{what}: {name}, without it", relative(actual[f"base.{name}"], plain[name]), BOUND)
        report.at_most(f"{what}: {name}, with it", relative(actual[f"adapted.{name}"], adapted[name]), BOUND)
        if name == "prediction" or has_text_modules(adapter):
            report.at_least(f"{what}: {name}, change by it", relative(adapted[name], plain[name]), LEAST_CHANGE)


def load_watched(pipeline: DiffusionPipeline, adapter: Path) -> list[str]:
    """Loads the adapter and returns whatever was said meanwhile, by warning or by log."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage()[:300])
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers", "peft")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.load_lora_weights(str(adapter.parent), weight_name=adapter.name)
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)
    # Whatever it says of its own future is not about the file.
    said += [str(w.message)[:300] for w in caught if not issubclass(w.category, FutureWarning | DeprecationWarning)]
    # It remarks on every text encoder that a file has nothing for, and says itself that this is safe where nothing is meant for it.
    return said if has_text_modules(adapter) else [text for text in said if not text.startswith("No LoRA keys associated to CLIPText")]


def has_text_modules(adapter: Path) -> bool:
    with safe_open(adapter, "pt") as file:
        return any(key.startswith("lora_te") for key in file.keys())


def check_all_loaded(report: Report, what: str, pipeline: DiffusionPipeline, adapter: Path) -> None:
    """Every module of the file is a layer of PEFT's now."""
    with safe_open(adapter, "pt") as file:
        written = sum(key.endswith(".lora_down.weight") for key in file.keys())
    layers = sum(hasattr(module, "lora_A") for network in networks(pipeline).values() for module in network.modules())
    report.holds(f"{what}: layers in the file and in diffusers", written == layers, f"{written} and {layers}")


def draw_inputs(pipeline: DiffusionPipeline) -> dict[str, torch.Tensor]:
    config = pipeline.unet.config
    generator = torch.Generator().manual_seed(31)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    side, tokens = config.sample_size, pipeline.tokenizer.model_max_length
    inputs = {
        "sample": draw(2, config.in_channels, side, side),
        "timesteps": torch.tensor([901.0, 141.0]),
        "encoder_hidden_states": draw(2, tokens, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        inputs["text_embeds"] = draw(2, config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim)
        inputs["time_ids"] = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
    return inputs


def outputs(pipeline: DiffusionPipeline, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    added = {key: inputs[key] for key in ("text_embeds", "time_ids") if key in inputs}
    with torch.no_grad():
        prediction = pipeline.unet(
            inputs["sample"], inputs["timesteps"], inputs["encoder_hidden_states"], added_cond_kwargs=added or None
        ).sample
        embeddings, pooled = encode_texts(pipeline, TEXTS)
    result = {"prediction": prediction, "textEmbeddings": embeddings}
    return result if pooled is None else {**result, "pooled": pooled}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", choices=["sdxl", "sd15"], default=["sdxl", "sd15"])
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--base", type=Path, default=Path("models/mini"), help="with --adapter: a folder in the diffusers layout")
    parser.add_argument("--adapter", type=Path, help="an adapter file that is there already")
    return parser.parse_args()


if __name__ == "__main__":
    main()
