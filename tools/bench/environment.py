"""A virtual environment of the benchmark's own, with this checkout installed in it.  Standard library only."""

import os
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["PEER_PACKAGES", "make_environment"]

PEER_PACKAGES = ("persist-queue", "litequeue", "diskcache")  # What `peers` imports, as PyPI calls it.
_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_environment(folder: str, extras: Sequence[str] = ()) -> str:
    """Install this checkout, and the packages *extras*, into a new environment at *folder*; return its interpreter.

    Raises CalledProcessError; pip has said why on standard error.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
    python = os.path.join(folder, "bin", "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--compile"]
    subprocess.run([*pip, _REPOSITORY, *extras], check=True, stdout=sys.stderr)
    return python
