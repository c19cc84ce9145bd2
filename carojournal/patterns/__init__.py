"""L2, the tripwire: which texts cannot be telemetry.  It trusts no schema, and a hit anywhere is a bug or an intruder.

An allowlist first: `grammar` and `models` say what telemetry identifiers look like, over the public words of
`vocabulary`; everything else is a finding.  `rules` then give it a name, over the text and its decoded `decode.forms`;
a few of them are vetoes that hold for recognised texts too.  L3 (`carojournal.shape`) is part of it, as rule "shape".
Off the append path: it imports `re`.
"""

from carojournal.patterns.rules import RULES
from carojournal.patterns.texts import scan
from carojournal.patterns.values import UNKNOWN_KEY, Hit, scan_value

__all__ = ["RULES", "UNKNOWN_KEY", "Hit", "scan", "scan_value"]
