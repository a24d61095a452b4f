"""Numbers with their bounds, printed one a line; the program's exit code says whether all were kept."""

import sys

import torch


class Report:
    """Collects comparisons."""

    def __init__(self, title: str) -> None:
        print(title, flush=True)
        self.failed = 0

    def at_most(self, what: str, value: float, bound: float) -> None:
        """One number that must not exceed its bound; what is no number does."""
        kept = value <= bound
        self.failed += not kept
        print(f"  {what:<58} {value:.2e}  (bound {bound:.0e}){'' if kept else '  NOT KEPT'}", flush=True)

    def at_least(self, what: str, value: float, bound: float) -> None:
        """One number that shows that a comparison means something: it must reach its bound."""
        kept = value >= bound
        self.failed += not kept
        print(f"  {what:<58} {value:.2e}  (at least {bound:.0e}){'' if kept else '  NOT REACHED'}", flush=True)

    def holds(self, what: str, kept: bool, found: str) -> None:
        """A statement."""
        self.failed += not kept
        print(f"  {what:<58} {found}{'' if kept else '  WRONG'}", flush=True)

    def say(self, what: str, text: str) -> None:
        """A number without a bound."""
        print(f"  {what:<58} {text}", flush=True)

    def finish(self) -> None:
        """Ends the program: 0 when every bound was kept, 1 otherwise."""
        print("  all bounds kept" if self.failed == 0 else f"  {self.failed} BOUNDS NOT KEPT", flush=True)
        sys.exit(0 if self.failed == 0 else 1)


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Euclidean norm of the difference over that of the expected."""
    if actual.shape != expected.shape:
        raise SystemExit(f"shapes differ: {tuple(actual.shape)} and {tuple(expected.shape)}")
    difference = (actual.double() - expected.double()).norm()
    return (difference / expected.double().norm()).item()
