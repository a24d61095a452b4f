"""Small base models with random weights, saved by diffusers itself: the shapes of SD 1.5 and SDXL, and the words of models/mini."""

import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from fixtures.draw import randomise
from fixtures.unet import SCHEDULE
from parity.gesso import ROOT

MINI = ROOT / "models/mini"
WIDTH = 32

SHARED = {"sample_size": 8, "layers_per_block": 2, "norm_num_groups": 8}
UNETS = {
    "sd15": {
        **SHARED,
        "block_out_channels": [32, 64, 64],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
    },
    "sdxl": {
        **SHARED,
        "block_out_channels": [32, 64, 64],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 1, 2],
        "cross_attention_dim": 2 * WIDTH,
        "attention_head_dim": [2, 4, 8],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
    },
}
VAE = {
    "block_out_channels": [8, 16, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "scaling_factor": 0.5,
}
TEXT = {
    "vocab_size": 2048,
    "max_position_embeddings": 32,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "projection_dim": WIDTH,
    "bos_token_id": 2046,
    "eos_token_id": 2047,
}


def save_random_base(folder: Path, family: str) -> Path:
    """Writes a folder in the diffusers layout and returns it."""
    parts = {
        "unet": randomise(UNet2DConditionModel(**UNETS[family]), 21),
        "vae": randomise(AutoencoderKL(**VAE), 22),
        "text_encoder": randomise(CLIPTextModel(CLIPTextConfig(**TEXT, hidden_act="quick_gelu")), 23),
        "tokenizer": CLIPTokenizer.from_pretrained(MINI / "tokenizer"),
        "scheduler": EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
    }
    if family == "sdxl":
        config = CLIPTextConfig(**TEXT, hidden_act="gelu")
        second = {"tokenizer_2": CLIPTokenizer.from_pretrained(MINI / "tokenizer_2")}
        second["text_encoder_2"] = randomise(CLIPTextModelWithProjection(config), 24)
        pipeline: DiffusionPipeline = StableDiffusionXLPipeline(**parts, **second, force_zeros_for_empty_prompt=False)
    else:
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline(**parts, **none)
    pipeline.save_pretrained(folder)
    for name in ("tokenizer", "tokenizer_2"):
        if hasattr(pipeline, name):  # published folders have vocab.json and merges.txt, which transformers 5 no longer writes
            shutil.copytree(MINI / name, folder / name, dirs_exist_ok=True)
    return folder


def load_base(folder: Path) -> DiffusionPipeline:
    """The whole pipeline, in float32, with nothing of it trained."""
    pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for network in networks(pipeline).values():
        network.requires_grad_(False)
    return pipeline


def networks(pipeline: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    """What an adapter can be on, by the name of its folder."""
    names = ("unet", "text_encoder", "text_encoder_2")
    return {name: getattr(pipeline, name) for name in names if getattr(pipeline, name, None) is not None}
