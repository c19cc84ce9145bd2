"""`carojournal audit` as a library: look again at everything that is kept or leaves, without trusting the schema.

The schema decides what enters; an audit asks, knowing nothing of that decision, whether sensitive text is there all the
same.  Its report has counts by rule and position; never a value, a prefix, a length or a hash of one.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from carojournal.audit_content import content_hits
from carojournal.audit_sources import BYTES_MAX, members
from carojournal.patterns import RULES

__all__ = ["FINDINGS_MAX", "Finding", "Report", "audit_paths"]

FINDINGS_MAX = 10_000  # Listed one by one; the counts go on.


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: `file` as given, `member` inside it, `position` inside that, and a name of `patterns.RULES`."""

    file: str
    member: str
    position: str
    rule: str


@dataclass(slots=True)
class Report:
    """What an audit saw.  `unread` are (file, member, reason) of what could not be looked at."""

    files: int = 0
    members: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything was looked at and nothing was found."""
        return not self.counts and not self.unread

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON values; `rules` explains the rules that were broken."""
        return {
            "clean": self.clean,
            "files": self.files,
            "members": self.members,
            "bytes": self.bytes,
            "counts": dict(sorted(self.counts.items())),
            "rules": {rule: RULES[rule] for rule in sorted(self.counts)},
            "findings": [
                {"file": found.file, "member": found.member, "position": found.position, "rule": found.rule}
                for found in self.findings
            ],
            "unread": [{"file": file, "member": member, "reason": reason} for file, member, reason in self.unread],
        }


def audit_paths(paths: Iterable[str], limit: int = BYTES_MAX) -> Report:
    """Return the report on *paths*: journals, segments, bundles, bags, exports or any other files.

    *limit* bounds the decompressed bytes of each file or member.  Raises OSError if one of *paths* cannot be opened.
    """
    report = Report()
    for path in paths:
        report.files += 1
        for member in members(path, limit):
            report.members += 1
            report.bytes += len(member.data)
            if member.problem:
                report.unread.append((member.file, member.member, member.problem))
            for position, rule in content_hits(member.data):
                report.counts[rule] += 1
                if len(report.findings) < FINDINGS_MAX:
                    report.findings.append(Finding(member.file, member.member, position, rule))
    return report
