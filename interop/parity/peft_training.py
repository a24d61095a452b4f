"""A LoRA training with diffusers and PEFT on Gesso's random numbers: PyTorch's AdamW, clipping, DDPM noise, min-SNR weights."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from diffusers.training_utils import compute_snr
from peft import LoraConfig

from fixtures.unet import in_convolution_block, in_transformer
from parity import philox
from parity.dataset import CAPTIONS, encode_pictures, encode_texts
from parity.random_base import networks


@dataclass
class Settings:
    """What both sides are told."""

    targets: str = "attention+ff"
    text_rate: float = 0.0
    steps: int = 20
    batch: int = 2
    rank: int = 4
    alpha: float = 2.0
    learning_rate: float = 2e-3
    max_grad_norm: float = 1.0
    min_snr_gamma: float = 5.0
    noise_offset: float = 0.05
    weight_decay: float = 0.01
    seed: int = 2**31 + 5


@dataclass
class Training:
    """What a training leaves behind."""

    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    changes: dict[str, torch.Tensor] = field(default_factory=dict)
    """By layer path: up down, as a matrix."""


def train(pipeline: DiffusionPipeline, pictures: Path, paths: list[str], settings: Settings) -> Training:
    """Trains adapters on the layers `paths`, which begin with their network's name."""
    modules = add_adapters(pipeline, paths, settings)
    begin_as_gesso(modules, settings)
    latents = encode_pictures(pipeline, pictures)
    optimizer = torch.optim.AdamW(parameter_groups(modules, settings), weight_decay=settings.weight_decay)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    result = Training()
    for step in range(1, settings.steps + 1):
        loss = step_loss(pipeline, latents, step, settings)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        result.losses.append(loss.item())
        result.grad_norms.append(norm.item())
    result.changes = {path: change_of(module) for path, module in modules.items()}
    return result


def add_adapters(pipeline: DiffusionPipeline, paths: list[str], settings: Settings) -> dict[str, torch.nn.Module]:
    """PEFT's layers by path, in the order of `paths`."""
    modules = {}
    for name, network in networks(pipeline).items():
        own = [path.removeprefix(f"{name}.") for path in paths if path.startswith(f"{name}.")]
        if not own:
            continue
        if name == "unet":
            check_targets(network, own, settings.targets)
        # Newer versions of transformers name the layers of a CLIPTextModel without `text_model.` in front.
        known = dict(network.named_modules())
        own = [path if path in known else path.removeprefix("text_model.") for path in own]
        network.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=own))
        modules |= {f"{name}.{path}": network.get_submodule(path) for path in own}
    return {path: modules.get(path) or modules[path.replace(".text_model.", ".", 1)] for path in paths}


def check_targets(unet: torch.nn.Module, own: list[str], targets: str) -> None:
    """Gesso's layers are those that this side would choose by the kind of block that they lie in."""
    is_target = {
        "attention+ff": in_transformer,
        "locon": lambda path, module: in_transformer(path, module) or in_convolution_block(path, module),
    }[targets]
    expected = {path for path, module in unet.named_modules() if is_target(path, module)}
    if expected != set(own):
        raise SystemExit(f"layers differ: {sorted(expected ^ set(own))[:5]}")


def begin_as_gesso(modules: dict[str, torch.nn.Module], settings: Settings) -> None:
    """down uniform in +-1/sqrt(inputs), by the layer's number; up zero."""
    for index, module in enumerate(modules.values()):
        down = module.lora_A["default"].weight
        drawn = philox.uniform("init", down.numel(), seed=settings.seed, sample=index)
        bound = 1 / np.sqrt(down[0].numel())
        down.data.copy_(torch.from_numpy(((2 * drawn.astype(np.float64) - 1) * bound).astype(np.float32)).view_as(down))
        if module.lora_B["default"].weight.any():
            raise SystemExit("PEFT begins with an up that is not zero")


def parameter_groups(modules: dict[str, torch.nn.Module], settings: Settings) -> list[dict]:
    """The UNet's adapters at one rate, the text encoders' at another."""
    groups = []
    for is_unet, rate in ((True, settings.learning_rate), (False, settings.text_rate)):
        own = [m for path, m in modules.items() if path.startswith("unet.") == is_unet]
        weights = [part["default"].weight for module in own for part in (module.lora_A, module.lora_B)]
        if weights:
            groups.append({"params": weights, "lr": rate})
    return groups


def change_of(module: torch.nn.Module) -> torch.Tensor:
    return module.lora_B["default"].weight.detach().flatten(1) @ module.lora_A["default"].weight.detach().flatten(1)


def step_loss(pipeline: DiffusionPipeline, latents: torch.Tensor, step: int, settings: Settings) -> torch.Tensor:
    drawn = drawn_pictures(step, len(latents), settings)
    clean = latents[drawn]
    noise = torch.stack([noise_of(step, i, clean.shape[1:], settings) for i in range(len(drawn))])
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    count = scheduler.config.num_train_timesteps
    key = {"seed": settings.seed, "step": step}
    timesteps = torch.tensor([philox.integers("timestep", 1, count, **key, sample=i)[0] for i in range(len(drawn))])
    embeddings, pooled = encode_texts(pipeline, [CAPTIONS[i] for i in drawn])
    added = None
    if pooled is not None:
        side = clean.shape[-1] * pipeline.vae_scale_factor
        added = {"text_embeds": pooled, "time_ids": torch.tensor([[side, side, 0, 0, side, side]] * len(drawn), dtype=torch.float32)}
    noisy = scheduler.add_noise(clean, noise, timesteps)
    prediction = pipeline.unet(noisy, timesteps, embeddings, added_cond_kwargs=added).sample
    snr = compute_snr(scheduler, timesteps)
    weights = snr.clamp(max=settings.min_snr_gamma) / snr
    return ((prediction - noise).square().mean(dim=(1, 2, 3)) * weights).mean()


def noise_of(step: int, sample: int, shape: torch.Size, settings: Settings) -> torch.Tensor:
    key = {"seed": settings.seed, "step": step, "sample": sample}
    noise = torch.from_numpy(philox.normal("noise", shape.numel(), **key)).view(shape)
    return noise + settings.noise_offset * torch.from_numpy(philox.normal("noiseOffset", shape[0], **key)).view(-1, 1, 1)


def drawn_pictures(step: int, count: int, settings: Settings) -> list[int]:
    """One bucket of `count` pictures, a whole number of steps an epoch: each epoch shuffles its pictures and its steps."""
    per_epoch = count // settings.batch
    epoch = (step - 1) // per_epoch
    first = epoch * per_epoch
    place = permutation_at(settings, epoch, 0, per_epoch)[step - 1 - first] + first
    positions = range(place * settings.batch, (place + 1) * settings.batch)
    return [permutation_at(settings, at // count, 1, count)[at % count] for at in positions]


def permutation_at(settings: Settings, epoch: int, sample: int, n: int) -> list[int]:
    return philox.permutation("order", n, seed=settings.seed, step=epoch, sample=sample)
