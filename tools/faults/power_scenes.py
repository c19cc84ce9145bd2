"""What `power_loss` cuts the power in: operations on a journal with some history, what they promise, and the look."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator

from carobatch import deliveries
from carobatch.ledger import Ledger
from carobatch.outbox import standing_intents
from carobatch.verify import verify_bundle
from carojournal import Journal, policy, sent
from carojournal.recovery import verify
from faults import conservation
from faults.model_batch import Batches, expanded
from faults.model_look import is_right
from faults.model_world import Event, Identity
from faults.power_disk import Recorder, states

__all__ = ["NAMES", "Scene", "check"]

_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_MODELS = ("ordered", "harsh")
Promises = list[str]


class Scene(Batches):
    """A journal with some history, all of it on the disk, and what an operation promises."""

    recorder: Recorder

    def prepare(self, choice: str = "on") -> None:
        """Record some events over two days, part of them packed."""
        os.makedirs(os.path.join(self.place, "home"), exist_ok=True)
        self.choose(choice)
        for step in range(6):
            self.append(0, 20, 0)
            self.tick(3_600_000 * 7)
            if step == 3:
                self.settle()
                self.compact(0)
        self.settle()

    def append_each(self, durability: str = "each") -> None:
        """Append one by one, over a rotation."""
        journal = Journal.open(
            self.root,
            level="detailed",
            durability=durability,
            environ=self.environ,
            admin="/nonexistent",
            clock=lambda: self.now_ms * 1_000_000,
            random=self.random.randbytes,
        )
        for _ in range(40):
            self.count += 1
            identity = journal.append("session_end", session_duration_ms=self.count)
            assert identity is not None
            self.known.events[identity] = Event(self.count, self.now_ms, self.consent_ms)
            if durability == "each":
                self.recorder.promise(f"event {identity[0].hex()} {identity[1]}")
        journal.close()

    def upload_telling(self) -> None:
        """Send everything; promise the intent where its first byte goes out."""
        post = self.receiver.post

        def told(*arguments: object) -> object:
            intents = standing_intents(self.root)
            self.recorder.promise(f"intent {intents[-1].batch.hex()}")
            return post(*arguments)  # type: ignore[arg-type]

        self.receiver.post = told  # type: ignore[method-assign, assignment]
        self.upload([])

    def export_telling(self) -> None:
        """Write a bundle; promise it once it is announced."""
        self.export(0, 1)
        self.recorder.promise(f"bundle {os.path.relpath(self.bundles[-1].path, self.place)}")

    def clear_telling(self) -> None:
        """Clear, and promise that nothing comes back."""
        self.clear(remove_root=False)
        self.recorder.promise("cleared")

    def choose_telling(self) -> None:
        """Turn telemetry off, and promise that."""
        self.choose("off")
        self.recorder.promise("off")


def _ready(scene: Scene) -> None:
    scene.export(0, 1)


def _carried(scene: Scene) -> None:
    scene.export(0, 1)
    scene.import_(-1)


_SCENES: dict[str, tuple[Callable[[Scene], object], Callable[[Scene], object]]] = {
    "append": (lambda _: None, lambda scene: scene.append_each()),
    "append-os": (lambda _: None, lambda scene: scene.append_each("os")),
    "compact": (lambda _: None, lambda scene: scene.compact(0)),
    "upload": (lambda _: None, lambda scene: scene.upload_telling()),
    "export": (lambda _: None, lambda scene: scene.export_telling()),
    "import": (_ready, lambda scene: scene.import_(-1)),
    "ack": (_carried, lambda scene: scene.acknowledge(-1, reclaiming=True)),
    "choose": (lambda _: None, lambda scene: scene.choose_telling()),
    "clear": (lambda _: None, lambda scene: scene.clear_telling()),
}
NAMES = tuple(_SCENES)


def check(name: str, every: int = 1, models: tuple[str, ...] = _MODELS) -> tuple[int, Counter[str]]:
    """Cut the power in the operation *name*; return how many disks there were, and on how many what did not hold."""
    prepare, operate = _SCENES[name]
    place = tempfile.mkdtemp(prefix="power-", dir=_PLACE)
    problems: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    looked = 0
    scene = Scene(place, 7, 1)
    try:
        scene.prepare()
        prepare(scene)
        before = set(scene.known.events)
        with Recorder(place) as scene.recorder:
            operate(scene)
        steps = scene.recorder.steps
        seen = set[tuple[object, ...]]()
        for model in models:
            for end in {*range(0, len(steps), every), len(steps)}:
                promises = [step.path for step in steps[:end] if step.kind == "promise"]
                for found, disk in states(scene.recorder.before, steps, end, model):
                    key = (frozenset(disk.names.items()), frozenset(disk.files.items()), tuple(promises))
                    if key in seen:
                        continue
                    seen.add(key)
                    looked += 1
                    there = f"{place}-cut"
                    disk.write_to(there)
                    for problem in _look(name, scene, there, promises, before):
                        what = f"{name} ({model}): {problem}"
                        firsts.setdefault(what, f"{what}; first: call {end}, {found}, after {steps[end - 1]!r:.100}")
                        problems[firsts[what]] += 1
                    shutil.rmtree(there)
    finally:
        scene.close()
    return looked, problems


def _look(name: str, scene: Scene, place: str, promises: Promises, before: set[Identity]) -> Iterator[str]:
    """Yield what does not hold on the disk that was made at *place*."""
    root = os.path.join(place, "journal")
    try:
        survey = conservation.survey(root, lambda record: is_right(scene, record))
        present = expanded(survey.present)
        if survey.wrong:
            yield "a wrong value"
        verify(root)
        yield from _kept(name, promises, before, present, root, place)
        for promise in promises:
            yield from _broken(promise, scene, root, place, present)
        yield from _goes_on(root, place, expecting=name not in ("choose", "clear"))
    except Exception as error:
        yield f"{type(error).__name__}: {error}".replace(place, "")


def _kept(
    name: str, promises: Promises, before: set[Identity], present: set[Identity], root: str, place: str
) -> Iterator[str]:
    """Check what was on the disk before."""
    missing = before - present
    if name == "upload" and missing:
        missing -= expanded(deliveries.accounted(root))
        removed = set(sent.uploads(root)["segments"])  # type: ignore[call-overload]
        missing = {one for one in missing if one[0] not in removed}
    if name == "ack" and missing:
        acks = Ledger(root).acks()
        missing -= expanded({bytes.fromhex(segment): runs for segment, runs in acks.items()})
    if name == "import":
        into = os.path.join(place, "imported")
        for journal in os.listdir(into) if os.path.isdir(into) else ():
            received = os.path.join(into, journal, "received")
            names = os.listdir(received) if os.path.isdir(received) else []
            if any(one.endswith(".json") and not one.startswith(".") for one in names):
                held = expanded(conservation.survey(os.path.join(into, journal)).present)
                if not before <= held:
                    yield "a receipt confirms what is not held"
    if missing and name != "clear":
        yield f"{'some' if len(missing) < len(before) else 'all'} events of before are gone"
    if name == "choose" and not promises:
        mode = _mode(root, place)
        if mode not in ("on", "off"):
            yield f"the mode is {mode}"


def _mode(root: str, place: str) -> str:
    found = policy.resolve(root, channel="beta", environ={"HOME": os.path.join(place, "home")}, admin="/nonexistent")
    return "broken" if found.problems else found.mode


def _broken(promise: str, scene: Scene, root: str, place: str, present: set[Identity]) -> Iterator[str]:
    """Check one promise."""
    kind, *words = promise.split(" ")
    if kind == "event" and (bytes.fromhex(words[0]), int(words[1])) not in present:
        yield "an acknowledged event is gone"
    elif kind == "intent":
        path = os.path.join(root, "outbox", f"{words[0]}.cbor")
        receipt = os.path.join(root, "receipts", f"upload-{words[0]}.cbor")
        if sent.read_map(path, "intent") is None and sent.read_map(receipt, "upload") is None:
            yield "an intent is gone though its first byte was sent"
    elif kind == "bundle":
        path = os.path.join(place, words[0])
        if not os.path.exists(path) or not verify_bundle(path).is_valid:
            yield "the bundle that was announced is not whole"
        elif len(Ledger(root).bundles()) < len(scene.bundles):
            yield "the ledger does not know the bundle that was announced"
    elif kind == "cleared" and present:
        yield "cleared events are back"
    elif kind == "off" and _mode(root, place) != "off":
        yield "telemetry is on again"


def _goes_on(root: str, place: str, *, expecting: bool) -> Iterator[str]:
    """Check that the next append works."""
    environ = {"HOME": os.path.join(place, "home")}
    with Journal.open(root, environ=environ, admin="/nonexistent") as journal:
        kept = journal.record("session_end", session_duration_ms=1)
    if expecting and not kept:
        yield f"the next append does not work: {journal.stats['reasons']}"
