"""Loads PyTorch and NumPy. Whatever keeps them from it becomes an ImportError that names PyTorch, with the reason."""


def load() -> None:
    try:
        import numpy  # noqa: F401
        import torch

        # A NumPy that PyTorch was not built for is told by a warning only, and fails at the first exchange.
        torch.zeros(1).numpy()
    except ModuleNotFoundError as error:
        raise ImportError(str(error), name=error.name if error.name in ("torch", "numpy") else "torch") from error
    except Exception as error:  # noqa: BLE001 - libraries that are missing or of another version fail in many ways
        text = " ".join(str(error).split())
        raise ImportError(f"{type(error).__name__}: {text}", name="torch") from error


load()
