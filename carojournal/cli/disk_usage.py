"""What the journal takes on the disk, part by part, as the bound of the spool counts it."""

import os

from carojournal import policy, spool
from carojournal.cli.output import bytes_text, count_text, is_terminal, say, table, uses_color
from carojournal.config import CHANNEL

__all__ = ["print_disk_usage"]


def print_disk_usage(root: str) -> None:
    """Print a row for every part below *root*, and the total beside the cap.  Raises OSError."""
    try:
        files = spool.usage(root)
    except (FileNotFoundError, NotADirectoryError):
        say("there is no journal yet")
        return
    sums: dict[str, list[int]] = {}
    for folder, name, size in files:
        row = sums.setdefault(folder.split("/")[0] or name, [0, 0])
        row[0] += 1
        row[1] += size
    total = sum(row[1] for row in sums.values())
    cap = policy.resolve(root, channel=CHANNEL, environ=os.environ).cap_bytes
    rows = [(name, count_text(row[0]), bytes_text(row[1])) for name, row in sorted(sums.items())]
    if is_terminal():
        rows.append(("total", count_text(len(files)), f"{bytes_text(total)} of {bytes_text(cap)}"))
        lines = table(("part", "files", "size"), rows, terminal=True, color=uses_color(), right=(1, 2))
    else:
        lines = [f"{name}\t{row[0]}\t{row[1]}" for name, row in sorted(sums.items())]
        lines.append(f"total\t{len(files)}\t{total}")
    print("\n".join(lines))
