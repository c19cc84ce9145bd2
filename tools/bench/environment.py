"""A virtual environment of the benchmark's own, with this checkout installed in it.  Standard library only."""

import os
import subprocess
import sys

__all__ = ["make_environment"]

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_environment(folder: str, extra: str = "") -> str:
    """Install this checkout with its *extra*, if any, into a new environment at *folder*; return its interpreter.

    Raises CalledProcessError; pip has said why on standard error.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
    python = os.path.join(folder, "bin", "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--compile"]
    subprocess.run([*pip, f"{_REPOSITORY}[{extra}]" if extra else _REPOSITORY], check=True, stdout=sys.stderr)
    return python
