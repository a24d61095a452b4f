"""
Times LoRA steps of SDXL by Gesso's torch worker, and by diffusers with PEFT in eager PyTorch where both are there, in turn.

    python run.py                     all programs, on the GPU
    python run.py plain --rounds 5    one of them

Needs torch and numpy, no network and no weights: they are random, made on the device from a seed, for they do not change what a step
costs. Each turn is a process of its own. Prints one line of JSON for each program and one for diffusers; times are medians over all turns.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}


def main() -> None:
    options = parse_options()
    if options.child:
        print(json.dumps(measure(options.programs[0], options)))
        return
    names = options.programs or sorted(path.stem for path in (HERE / "programs").glob("*.json"))
    ours: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    theirs: dict[str, list[dict[str, Any]]] = {"diffusers": [], "diffusers-checkpointing": []}
    why = None if options.ours_only else find_diffusers()
    for _ in range(options.rounds):
        for name in names:
            ours[name].append(run_child([__file__, name, "--child", *pass_on(options)]))
        for side in theirs if why is None and not options.ours_only else ():
            theirs[side].append(run_diffusers(side, options))
    base = {side: summarise(turns) for side, turns in theirs.items() if turns}
    for name in names:
        print(json.dumps({"program": name, **summarise(ours[name]), "ratios": compare(name, ours[name], theirs)}), flush=True)
    for side, summary in base.items():
        print(json.dumps({"program": side, **summary}), flush=True)
    if why is not None:
        print(json.dumps({"program": "diffusers", "skipped": why}), flush=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", help="names of files in programs; all where none is given")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each side gets")
    parser.add_argument("--steps", type=int, default=10, help="steps with the clock on, in each turn")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them; the first records the CUDA graph")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-capture", action="store_true", help="without a CUDA graph")
    parser.add_argument("--compile", action="store_true", help="by PyTorch's compiler")
    parser.add_argument("--any-order", action="store_true", help="let kernels add in any order, as PyTorch does by default; other bytes each time")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def pass_on(options: argparse.Namespace) -> list[str]:
    choices = (("--no-capture", options.no_capture), ("--compile", options.compile), ("--any-order", options.any_order))
    flags = [flag for flag, given in choices if given]
    counts = [(name, getattr(options, name)) for name in ("device", "steps", "warmup", "threads")]
    return [*flags, *(text for name, value in counts for text in (f"--{name}", str(value)))]


def run_child(args: list[str]) -> dict[str, Any]:
    """What a program's last line says; why it failed, where it did."""
    done = subprocess.run([sys.executable, "-B", *args], capture_output=True, text=True, cwd=HERE)
    if done.returncode == 0:
        return json.loads(done.stdout.strip().splitlines()[-1])
    last = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
    return {"failed": last[:500]}


def find_diffusers() -> str | None:
    """Why diffusers cannot be measured, or None."""
    done = subprocess.run([sys.executable, "-c", "import diffusers, peft"], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1][:200]


def run_diffusers(side: str, options: argparse.Namespace) -> dict[str, Any]:
    first = json.loads(next((HERE / "programs").glob("*.json")).read_text(encoding="utf-8"))
    sizes = {"batch": 1, "size": first["sidePx"] // 8, "rank": first["rank"], "dtype": first["precision"], "device": options.device}
    counts = {name: getattr(options, name) for name in ("steps", "warmup", "threads")}
    args = [text for name, value in {**sizes, **counts}.items() for text in (f"--{name}", str(value))]
    if side == "diffusers-checkpointing":
        args.append("--checkpointing")
    return run_child(["mini_step.py", "config.json", "--targets", "attention", *args])


def summarise(turns: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [turn["failed"] for turn in turns if "failed" in turn]
    if failed:
        return {"failed": failed[0]}
    times = [turn["msPerStep"] for turn in turns]
    return {**turns[-1], "msPerStep": statistics.median(times), "msOfTurns": times}


def compare(name: str, ours: list[dict[str, Any]], theirs: dict[str, list[dict[str, Any]]]) -> list[float]:
    """Of each turn, diffusers' time over ours: with gradient checkpointing where ours recomputes."""
    other = theirs["diffusers-checkpointing" if name.startswith("recomputed") else "diffusers"]
    return [b["msPerStep"] / a["msPerStep"] for a, b in zip(ours, other) if "failed" not in a and "failed" not in b]


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(HERE / "worker"))
    import torch
    from device import open_device
    from runtime import Runtime

    pack = json.loads((HERE / "programs" / f"{name}.json").read_text(encoding="utf-8"))
    start = {"device": options.device, "threads": options.threads, "tf32": False, "deterministic": not options.any_order}
    runtime = Runtime()
    runtime.call_start({**start, "capture": not options.no_capture, "compile": options.compile}, {})
    device = open_device(runtime.options)
    before = peak_bytes(device)
    torch.manual_seed(1)
    for spec in pack["buffers"]:
        runtime.buffers.allocate(spec, {"kind": "data"}, first_values(spec, device))
    constants = {entry["value"]: torch.tensor(entry["data"], dtype=dtype_of(pack, entry)).reshape(entry["shape"]) for entry in pack["constants"]}
    runtime.call_compile({"id": 0, "program": pack["program"]}, constants)
    durations, losses, notes = [], [], []
    for step in range(options.warmup + options.steps):
        feeds = {spec["name"]: feed_of(spec, step) for spec in pack["feeds"] if spec["name"] in pack["program"]["feeds"]}
        begin = time.perf_counter()
        answer, fetched = runtime.call_run({"id": 0, "isShared": False}, feeds)
        durations.append((time.perf_counter() - begin) * 1000)
        notes += answer["notes"]
        losses.append(fetched["loss"].item())
    if not all(math.isfinite(loss) for loss in losses):
        raise SystemExit(f"{name}: losses are {losses}")
    ms = statistics.median(durations[options.warmup :])
    rate, predicted = matmul_rate(device, pack["precision"]), sum(pack["predicted"].values())
    taken = peak_bytes(device) - (before if device.type == "cpu" else 0)
    about = {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", "torch": torch.__version__}
    return {
        **about,
        "msPerStep": ms,
        "recordedMs": durations[0],
        "matmulFlopsPerSecond": rate,
        "shareOfMatmul": pack["flops"] / (ms / 1000) / rate,
        "peakBytes": taken,
        "reservedBytes": torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        "predictedBytes": predicted,
        "peakOverPredicted": taken / predicted,
        "losses": losses[-2:],
        "notes": notes,
    }


def peak_bytes(device: Any) -> int:
    import torch
    from device import process_bytes

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else process_bytes()[1]


def dtype_of(pack: dict[str, Any], entry: dict[str, Any]) -> Any:
    import torch

    return torch.int32 if pack["program"]["types"][int(entry["value"])][0] == "int32" else torch.float32


def first_values(spec: dict[str, Any], device: Any) -> Any:
    """Norms scale by 1, moments and biases begin at 0, matrices are as a fresh layer's, an adapter's second half is small."""
    import torch

    name, shape = spec["name"], spec["shape"]
    if name.endswith((".m", ".v", ".bias")):
        return torch.zeros(shape, device=device)
    if len(shape) == 1:
        return torch.ones(shape, device=device)
    deviation = 1e-3 if name.startswith("adapter.") else 1 / math.sqrt(math.prod(shape[1:]))
    return torch.randn(shape, device=device) * deviation


def feed_of(spec: dict[str, Any], step: int) -> Any:
    import torch

    name, shape = spec["name"], spec["shape"]
    if name == "timesteps":
        return torch.randint(0, 1000, shape).float()
    if name == "timeIds":
        return torch.tensor([1024.0, 1024, 0, 0, 1024, 1024]).expand(shape).contiguous()
    known = {"lossWeights": 1.0, "correction1": 1 - 0.9 ** (step + 1), "correction2": 1 - 0.999 ** (step + 1)}
    if name in known or name.startswith("learningRate"):
        return torch.full(shape, known.get(name, 1e-4))
    return torch.randn(shape)


def matmul_rate(device: Any, precision: str) -> float:
    """Of a large square product in the step's precision: the best of a few."""
    import torch

    side, dtype = MATRIX_SIDE.get(device.type, 1024), getattr(torch, precision)
    x = torch.randn(side, side, device=device).to(dtype)
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(4):
            y = x @ x
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - begin) / 4)
        del y
    return 2 * side**3 / best


if __name__ == "__main__":
    main()
