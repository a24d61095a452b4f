"""A few captioned pictures, and what diffusers and transformers make of them."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

CAPTIONS = ["a red apple", "a blue boat on the sea", "two green leaves", "a yellow star"]


def save_pictures(folder: Path, side: int) -> Path:
    """Writes one picture for each caption."""
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[0:side, 0:side]
    for i, caption in enumerate(CAPTIONS):
        waves = [np.sin((i + 1) * rows / 9 + c) * np.cos((c + 1) * columns / (7 + i)) for c in range(3)]
        Image.fromarray((127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)).save(folder / f"picture-{i}.png")
        (folder / f"picture-{i}.txt").write_text(caption, encoding="utf-8")
    return folder


def encode_pictures(pipeline: DiffusionPipeline, folder: Path) -> torch.Tensor:
    """Latents [N, C, h, w] in the order of the file names."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        return pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor


def encode_texts(pipeline: DiffusionPipeline, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Text embeddings [N, L, D], and for SDXL the pooled ones [N, P]. Gradients flow where parameters want them."""
    if getattr(pipeline, "text_encoder_2", None) is None:
        return pipeline.text_encoder(token_ids(pipeline.tokenizer, texts)).last_hidden_state, None
    first = pipeline.text_encoder(token_ids(pipeline.tokenizer, texts), output_hidden_states=True)
    second = pipeline.text_encoder_2(token_ids(pipeline.tokenizer_2, texts), output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def token_ids(tokenizer, texts: list[str]) -> torch.Tensor:
    options = {"padding": "max_length", "max_length": tokenizer.model_max_length, "truncation": True}
    return tokenizer(texts, **options, return_tensors="pt").input_ids
