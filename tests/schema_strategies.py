"""Events as hypothesis draws them from the schema, for every test that needs some; and their JSON view."""

from hypothesis import strategies as st

from carojournal import events, redact
from carojournal.codec import loads
from carojournal.view import event_view

MODELS = ["llama3:8b", "qwen2.5-coder-7b-instruct-q4_k_m", "gpt-4o-mini", "claude-3-5-sonnet-20241022", "other"]
VERSIONS = ["1.1", "1.1.0", "1.1.0-beta", "1.2.0-rc.1", "0.10.999-alpha.12"]
CODES = ["E0001", "E9999", "timeout", "ALERT_DESCRIPTION_UNKNOWN_CA", "other"]
EVENT_ID = "6f2c1b1e-93a4-8d21-b0f5-1f3c5d7e9a0b"
SESSION, RUN = bytes(range(16)), bytes(range(16, 32))


def values(kind):
    """Values that a field of type *kind* must take, stored as they are or rounded."""
    spec = events.TYPES[kind]
    shape = spec[0]
    if shape == "enum":
        return st.sampled_from(spec[1])
    if shape == "words":
        return st.lists(st.sampled_from(events.TYPES[spec[1]][1]), max_size=spec[2])
    if shape == "int":
        edges = st.sampled_from([0, 1, spec[2], min(spec[2] + 1, spec[1]), spec[1]])
        return edges | st.integers(0, spec[1])
    return {
        "bool": st.booleans(),
        "score": st.floats(0, 1) | st.sampled_from([0, 1, 0.29, 0.57, 0.58]),
        "version": st.sampled_from(VERSIONS),
        "code": st.sampled_from(CODES),
        "model": st.sampled_from(MODELS),
    }[shape]


def fields(event):
    declared = events.EVENTS[event][1]
    required = {name: values(kind) for name, (kind, _, needed, _) in declared.items() if needed}
    optional = {name: values(kind) for name, (kind, _, needed, _) in declared.items() if not needed}
    return st.fixed_dictionaries(required, optional=optional)


def any_event():
    """Pairs of an event's name and fields that the recorder must accept whole."""
    return st.sampled_from(sorted(events.EVENTS)).flatmap(lambda event: st.tuples(st.just(event), fields(event)))


def payload(event, given, *, time_ms=1_767_225_600_123, generation=0):
    accepted = redact.check(event, given)
    assert isinstance(accepted, redact.Accepted), accepted.refusals
    return accepted.payload(time_ms, SESSION, RUN, generation)


def json_view(raw):
    return event_view(loads(raw), EVENT_ID)
