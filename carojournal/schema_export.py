"""Every file that is made from the schema, and the command that writes them again.

    python -m carojournal.schema_export             say which files and constants are out of step (exit 65)
    python -m carojournal.schema_export --write     write them, and print the constant SCHEMA_HASH for events.py
    python -m carojournal.schema_export --write --amend
                                                    as --write, but replace the newest entry of the registry: only for a
                                                    version that no release has carried yet

A changed schema under an old version number is refused without --amend: segments in the field name the old hash.
"""

import json
import os
import sys

from carojournal import events, schema_docs
from carojournal.errors import ConfigError, JournalError
from carojournal.schema_cddl import cddl
from carojournal.schema_json import json_schema
from carojournal.schema_markdown import events_markdown
from carojournal.schema_registry import REGISTRY_PATH, chained, read_registry, schema_hash

__all__ = ["amended", "cddl", "events_markdown", "files", "json_schema", "json_schema_text", "main", "out_of_step"]

_PACKAGE = os.path.dirname(__file__)


def json_schema_text() -> str:
    """Return the JSON Schema as it stands in its file."""
    return json.dumps(json_schema(), indent=2) + "\n"


def amended(released: list[tuple[int, bytes]], version: int, schema: bytes, *, amend: bool) -> list[tuple[int, bytes]]:
    """Return *released* with (*version*, *schema*) as its newest entry.

    Raises ConfigError if *version* is neither the newest nor the next one, or the newest would change without *amend*.
    """
    if released and released[-1][0] == version:
        if released[-1][1] != schema and not amend:
            raise ConfigError(
                f"schema version {version} has changed: raise SCHEMA_VERSION, or --amend before its release"
            )
        released = released[:-1]
    if version != len(released) + 1:
        raise ConfigError(f"schema version {version} does not follow the registry's {len(released)}")
    return [*released, (version, schema)]


def _registry_text(released: list[tuple[int, bytes]]) -> str:
    return json.dumps({"registry": "carojournal event schemas", "schemas": chained(released)}, indent=2) + "\n"


def files(*, amend: bool = False) -> dict[str, str]:
    """Return path -> text of every generated file of the package."""
    released = read_registry() if os.path.exists(REGISTRY_PATH) else []
    folder = os.path.dirname(REGISTRY_PATH)
    stem = os.path.join(folder, f"events-v{events.SCHEMA_VERSION}")
    return {
        os.path.join(_PACKAGE, "EVENTS.md"): events_markdown(),
        f"{stem}.schema.json": json_schema_text(),
        f"{stem}.cddl": cddl(),
        REGISTRY_PATH: _registry_text(amended(released, events.SCHEMA_VERSION, schema_hash(), amend=amend)),
    }


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def out_of_step() -> list[str]:
    """Return the names of generated files and of constants that no longer follow from the schema."""
    stale = [os.path.relpath(path, _PACKAGE) for path, text in files().items() if _read(path) != text]
    if schema_hash() != events.SCHEMA_HASH:
        stale.append("events.SCHEMA_HASH")
    return stale + [f"schema_docs: {name}" for name in schema_docs.undocumented()]


def main(words: list[str]) -> int:
    """Run the command of this module's docstring; return its exit code."""
    if not set(words) <= {"--write", "--amend"}:
        print(__doc__, file=sys.stderr)
        return 64
    try:
        if "--write" in words:
            for path, text in files(amend="--amend" in words).items():
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8", newline="") as file:
                    file.write(text)
            print(f'SCHEMA_HASH = bytes.fromhex("{schema_hash().hex()}")')
        stale = out_of_step()
    except JournalError as error:
        print(f"schema_export: {error}", file=sys.stderr)
        return 65
    for name in stale:
        print(f"schema_export: out of step: {name}", file=sys.stderr)
    return 65 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
