"""Generates one picture with diffusers from a model folder and given noise, to compare with what Gesso makes of the same.

    python interop/generate.py --prompt "a red apple, noto style" --latents noise.safetensors --out apple.png

The noise is the tensor `latents` [1, 4, h, w] of unit variance in the safetensors file; the picture has as many pixels a latent
as the VAE makes. Without --latents, noise is drawn by --seed, and written to --save-latents if that is given. --save-result writes
the final latents as the UNet has them, which tell more than a picture of bytes.
"""

import argparse
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from safetensors.torch import load_file, save_file

# Karras' sigmas run over the whole noise schedule only with "linspace"; Euler takes the spacing that the model's folder names.
KARRAS = {"use_karras_sigmas": True, "timestep_spacing": "linspace"}
SAMPLERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2, **KARRAS}),
}


def main() -> None:
    options = parse_options()
    pipeline = DiffusionPipeline.from_pretrained(options.base, torch_dtype=torch.float32, local_files_only=True)
    cls, settings = SAMPLERS[options.sampler]
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **settings)
    if options.lora is not None:
        pipeline.load_lora_weights(str(options.lora.parent), weight_name=options.lora.name)
    noise = read_or_draw_noise(options, pipeline)
    common = {"num_inference_steps": options.steps, "guidance_scale": options.cfg, "latents": noise.clone()}
    side = [int(size) * pipeline.vae_scale_factor for size in noise.shape[-2:]]
    common |= {"height": side[0], "width": side[1], "prompt": options.prompt, "negative_prompt": options.negative}
    latents = pipeline(**common, output_type="latent").images
    if options.save_result is not None:
        save_file({"latents": latents.float().contiguous()}, options.save_result)
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    pipeline.image_processor.postprocess(decoded)[0].save(options.out)


def read_or_draw_noise(options: argparse.Namespace, pipeline: DiffusionPipeline) -> torch.Tensor:
    if options.latents is not None:
        return load_file(options.latents)["latents"]
    size = pipeline.unet.config.sample_size
    shape = (1, pipeline.unet.config.in_channels, size, size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(options.seed))
    if options.save_latents is not None:
        save_file({"latents": noise}, options.save_latents)
    return noise


def parse_options() -> argparse.Namespace:
    mini = Path(__file__).resolve().parent.parent / "models/mini"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=mini, help="a folder in the diffusers layout; default: models/mini")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative", help="default: none, which SDXL may take as zeros (force_zeros_for_empty_prompt)")
    parser.add_argument("--lora", type=Path, help="an adapter file")
    parser.add_argument("--sampler", choices=SAMPLERS, default="euler")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latents", type=Path)
    parser.add_argument("--save-latents", type=Path)
    parser.add_argument("--save-result", type=Path, help="where to write the final latents")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
