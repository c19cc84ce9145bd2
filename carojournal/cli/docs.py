"""`carojournal docs [TOPIC]`: the user documentation that the package carries, as Markdown."""

import os

from carojournal.cli.output import is_terminal, table, uses_color
from carojournal.errors import UsageError

__all__ = ["OPTIONS", "TOPICS", "available", "docs", "read_topic"]

# Topic -> file below the package.  In the order in which a newcomer would ask.
TOPICS = {
    "collected": "docs/collected.md",
    "off": "docs/off.md",
    "checking": "docs/checking.md",
    "files": "docs/files.md",
    "air-gapped": "docs/air-gapped.md",
    "deletion": "docs/deletion.md",
    "events": "EVENTS.md",
    "format": "FORMAT.md",
}

OPTIONS = {
    "topic": {
        "flags": ("topic",),
        "nargs": "?",
        "default": None,
        "help": "what to read; without it, the topics are listed",
    }
}


def _path(topic: str) -> str:
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), *TOPICS[topic].split("/"))


def available() -> list[str]:
    """Return the topics that this installation carries."""
    return [topic for topic in TOPICS if os.path.exists(_path(topic))]


def read_topic(topic: str) -> str:
    """Return the Markdown text of *topic*, one of `available`."""
    with open(_path(topic), encoding="utf-8") as file:
        return file.read()


def docs(topic: str | None = None) -> int:
    """Print the user documentation: the list of topics, or one of them."""
    if topic is None:
        rows = ((name, read_topic(name).partition("\n")[0].lstrip("# ")) for name in available())
        print("\n".join(table(("topic", "about"), rows, terminal=is_terminal(), color=uses_color())))
        if is_terminal():
            print("\nRead one with 'carojournal docs TOPIC'.")
        return 0
    if topic not in available():
        raise UsageError(f"unknown topic; known are {', '.join(available())}")
    print(read_topic(topic), end="")
    return 0
