"""The allowlist once more, for payloads that leave: before packing, every export and upload, and on import.

`payload_pattern` answers for nearly every payload and `stored` for the others; on top comes L2, the tripwire of
`patterns`, over every text that is no enum member.
"""

from carojournal import patterns, payload_pattern, stored
from carojournal.codec import loads
from carojournal.stored import Refusals

__all__ = ["Refusals", "refusals"]


def refusals(payload: bytes) -> Refusals:
    """Return why *payload* may not be kept, as (event, field, reason) from closed vocabularies; empty if it may."""
    if payload_pattern.payload_end(payload) == len(payload):
        return ()  # Texts have passed L2 when the pattern first met them.
    bad = stored.check_payload(payload)
    if bad:
        return bad
    value = loads(payload)
    assert isinstance(value, dict)
    texts = [(key, part) for key, part in value.items() if type(part) is str and key != "event"]
    return tuple((str(value["event"]), key, "value") for key, text in texts if patterns.scan(text))
