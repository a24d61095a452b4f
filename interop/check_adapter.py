#!/usr/bin/env python3
"""Checks an adapter file with the reference safetensors reader: keys, shapes, numbers and metadata.

Usage: python interop/check_adapter.py FILE.safetensors [...]
Needs: pip install safetensors==0.8.0 (and nothing else). Exit code 0 when every file is as it should be, 1 otherwise.
"""
import hashlib
import json
import re
import struct
import sys

from safetensors import deserialize

SGM = r"lora_unet_(input_blocks_\d+|middle_block|output_blocks_\d+)_\d+_|lora_unet_(time_embed|label_emb|out_2|input_blocks_0_0)"
DIFFUSERS = r"lora_unet_(down_blocks|mid_block|up_blocks|time_embedding|add_embedding|conv_in|conv_out)"
MODULE = {
    "sdxl": rf"^(({SGM}).*|lora_te[12]_(text_model_.+|text_projection))$",
    "sd15": rf"^({DIFFUSERS}.*|lora_te_text_model_.+)$",
}
FAMILY = {  # ss_base_model_version: family, modelspec.architecture, modelspec.implementation
    "sdxl_base_v1-0": ("sdxl", "stable-diffusion-xl-v1-base/lora", "https://github.com/Stability-AI/generative-models"),
    "sd_v1": ("sd15", "stable-diffusion-v1/lora", "diffusers"),
}
PARTS = ("lora_down.weight", "lora_up.weight", "alpha")
REQUIRED = """ss_v2 ss_base_model_version ss_network_module ss_network_dim ss_network_alpha ss_network_args ss_output_name
ss_tag_frequency sshs_model_hash sshs_legacy_hash modelspec.sai_model_spec modelspec.architecture modelspec.implementation
modelspec.title modelspec.resolution modelspec.hash_sha256 modelspec.prediction_type""".split()
USEFUL = """ss_sd_model_name ss_new_sd_model_hash ss_new_vae_hash ss_learning_rate ss_unet_lr ss_text_encoder_lr ss_optimizer
ss_lr_scheduler ss_num_train_images ss_num_epochs ss_epoch ss_steps ss_max_train_steps ss_seed ss_resolution ss_clip_skip
ss_bucket_info ss_dataset_dirs ss_noise_offset ss_min_snr_gamma ss_training_started_at modelspec.date
modelspec.trigger_phrase""".split()


def decode(dtype: str, data: bytes) -> list[float]:
    """The numbers of a tensor."""
    if dtype == "BF16":  # the upper half of a float32
        return [v for (v,) in struct.iter_unpack("<f", b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2)))]
    return [v for (v,) in struct.iter_unpack({"F16": "<e", "F32": "<f"}[dtype], data)]


def check_modules(tensors: dict, family: str, problems: list[str]) -> dict:
    """Each module has down, up and alpha of one rank, finite, and something in it is not zero."""
    modules: dict = {}
    for key in tensors:
        name, _, part = key.partition(".")
        if part not in PARTS:
            problems.append(f"{key}: not one of {', '.join(PARTS)}")
        elif not re.match(MODULE[family], name):
            problems.append(f"{key}: no module name of {family}")
        else:
            modules.setdefault(name, {})[part] = tensors[key]
    changes = False
    for name, parts in modules.items():
        if set(parts) != set(PARTS):
            problems.append(f"{name}: has only {', '.join(parts)}")
            continue
        down, up, alpha = (parts[part] for part in PARTS)
        if len(down["shape"]) not in (2, 4) or len(up["shape"]) != len(down["shape"]) or up["shape"][1] != down["shape"][0]:
            problems.append(f"{name}: down {down['shape']} and up {up['shape']} do not fit")
        if up["shape"][2:] != [1] * len(up["shape"][2:]):
            problems.append(f"{name}: up {up['shape']} is not 1 x 1")
        if alpha["shape"] != [] or alpha["dtype"] != down["dtype"]:
            problems.append(f"{name}: alpha is {alpha['dtype']} {alpha['shape']}, a {down['dtype']} scalar is needed")
        numbers = {part: decode(parts[part]["dtype"], bytes(parts[part]["data"])) for part in PARTS}
        for part, values in numbers.items():
            if any(value != value or abs(value) == float("inf") for value in values):
                problems.append(f"{name}.{part}: not finite")
        changes = changes or any(numbers["lora_up.weight"])
    if not changes:
        problems.append("every up is zero: the adapter changes nothing")
    return modules


def check_metadata(metadata: dict, tensor_bytes: bytes, problems: list[str]) -> str:
    """Everything that readers look for is there and agrees. Returns the family."""
    problems += [f"{key}: missing" for key in REQUIRED if key not in metadata]
    problems += [f"{key}: not text" for key, value in metadata.items() if not isinstance(value, str)]
    version = metadata.get("ss_base_model_version")
    family, *spec = FAMILY.get(version, ("sdxl", None, None))
    if version not in FAMILY:
        problems.append(f"ss_base_model_version: {version!r} is none of {', '.join(FAMILY)}")
    digest = hashlib.sha256(tensor_bytes).hexdigest()
    expected = {
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": spec[0],
        "modelspec.implementation": spec[1],
        "modelspec.hash_sha256": f"0x{digest}",
        "sshs_model_hash": digest,
    }
    problems += [f"{k}: {metadata[k]!r}, {v!r} needed" for k, v in expected.items() if k in metadata and metadata[k] != v]
    patterns = {
        "sshs_legacy_hash": r"[0-9a-f]{8}",
        "modelspec.resolution": r"\d+x\d+",
        "modelspec.prediction_type": r"epsilon|v",
        "modelspec.date": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    }
    problems += [f"{k}: {metadata[k]!r}" for k, p in patterns.items() if k in metadata and not re.fullmatch(p, metadata[k])]
    for key in ("ss_network_args", "ss_tag_frequency", "ss_dataset_dirs", "ss_bucket_info"):
        if key in metadata and not isinstance(json.loads(metadata[key]), dict):
            problems.append(f"{key}: not a JSON object")
    tags = json.loads(metadata.get("ss_tag_frequency", "{}"))
    if not all(isinstance(n, int) for counts in tags.values() for n in counts.values()):
        problems.append("ss_tag_frequency: not {folder: {tag: count}}")
    return family


def check(path: str) -> bool:
    """Prints the verdict on one file."""
    with open(path, "rb") as file:
        content = file.read()
    tensors = dict(deserialize(content))  # the reference reader: raises on anything that is not safetensors
    header_bytes = int.from_bytes(content[:8], "little")
    # deserialize gives no metadata, and the reader that does wants NumPy; the header is JSON.
    metadata = json.loads(content[8 : 8 + header_bytes]).get("__metadata__", {})
    problems: list[str] = []
    family = check_metadata(metadata, content[8 + header_bytes :], problems)
    modules = check_modules(tensors, family, problems)

    dtypes = sorted({tensor["dtype"] for tensor in tensors.values()})
    ranks = sorted({module["lora_down.weight"]["shape"][0] for module in modules.values() if "lora_down.weight" in module})
    print(f"{path}\n  {family}: {len(modules)} modules, {len(tensors)} tensors, {'/'.join(dtypes)}, rank {ranks}, {len(metadata)} fields")
    absent = [key for key in USEFUL if key not in metadata]
    if absent:
        print(f"  without, which is allowed: {', '.join(absent)}")
    for problem in problems:
        print(f"  WRONG {problem}")
    print("  verdict:", "wrong" if problems else "right")
    return not problems


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    sys.exit(0 if all([check(path) for path in sys.argv[1:]]) else 1)
