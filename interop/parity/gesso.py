"""Runs Gesso's half of a comparison: a script of interop/gesso, or its command line."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TSX = ROOT / "node_modules/.bin/tsx"


def run_half(script: str, *arguments: object) -> str:
    """Runs interop/gesso/<script> and returns what it prints."""
    return run(str(ROOT / "interop/gesso" / script), *arguments)


def run_gesso(*arguments: object) -> str:
    """Runs the command line from source."""
    return run(str(ROOT / "src/cli/main.ts"), *arguments)


def run(*arguments: object) -> str:
    command = [str(TSX), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def last_json(output: str) -> dict:
    """The last line of what a half prints."""
    return json.loads(output.strip().splitlines()[-1])
