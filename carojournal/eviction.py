"""Which files go first when the spool is full, and the loss records that say what went with them.

Oldest first, packed before closed of the same age, never what a batch in the outbox names.  A segment that is evicted
may itself hold loss records; their sums travel on in `carried`, so that no loss is ever forgotten.

What receipts account for is not lost.  A file of which every event was delivered goes first, under the reason
`delivered`; of one that was delivered in part the record counts the others, and what arrived stands in its `carried`.

A packed file whose inventory is damaged goes last: of its events nobody could say that they went.  `carobatch` writes
it anew, and then it is one like the others.

A segment of which a crash left two copies goes with both of them: a loss that is told twice counts once only as long as
both records stand.  What somebody has told of who died before the unlink goes first, without another record.  A file
that cannot be unlinked stays, with a loss record that does not count as long as it does; others go in its place, or one
such file would let the spool grow for ever.
"""

import fcntl
import os

import carojournal
from carojournal.errors import SpoolFull
from carojournal.root import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from carojournal import held
    from carojournal.delivered import Delivered
    from carojournal.predecessors import Others

__all__ = ["EVICTED", "Victim", "choose", "in_flight", "is_named"]

EVICTED = "evicted"  # The reason in the loss records.


class Victim:
    """A file that must go, and the loss records (payloads) that say what went with it."""

    __slots__ = ("path", "payloads", "size")

    def __init__(self, path: str, size: int, payloads: list[bytes]) -> None:
        self.path = path
        self.size = size
        self.payloads = payloads


def choose(
    root: str,
    total: int,
    cap_bytes: int,
    candidates: "list[tuple[str, bool, str, str, int]]",
    opened: "list[tuple[str, str]]",
    stuck: "Collection[str]" = (),
) -> list[Victim]:
    """Return what must go so that *total* bytes become *cap_bytes* at most.

    *candidates* are (creation time as in the name, closed and not packed, name, folder, bytes), *opened* (folder, name)
    the lanes' files.  *stuck* are files that nobody can unlink: what is said of them is said once.  Raises SpoolFull if
    all that may go would not suffice, FileNotFoundError if one of the files is gone.
    """
    victims: list[Victim] = []
    named, delivered = in_flight(root), carojournal.delivered.Delivered(root)
    gone = {loss[0] for path in stuck for loss in carojournal.held.describe(path)}
    opened = [*opened, *((os.path.basename(os.path.dirname(path)), os.path.basename(path)) for path in stuck)]
    left = sorted(candidates)
    left.sort(key=lambda one: not _is_delivered(os.path.join(root, one[3], one[2]), delivered))
    around = _Around(root, [*opened, *((folder, name) for _, _, name, folder, _ in left)])
    left, freed = _finish(root, left, named, around)
    total -= freed
    silent: list[tuple[str, str, int]] = []
    for _, _, name, folder, size in left:
        if total <= cap_bytes:
            break
        if folder == "packed" and not _is_readable(os.path.join(root, folder, name)):
            silent.append((folder, name, size))
            continue
        total -= _add(victims, _victim(root, (folder, name, size), named, gone, delivered, around), around)
    for file in silent:
        if total > cap_bytes:
            total -= _add(victims, _victim(root, file, named, gone, delivered, around), around)
    if total > cap_bytes:
        raise SpoolFull("make room in", root, None, "nothing may be evicted")
    return [*victims, *_copies(root, [one for one in left if (one[3], one[2]) not in around.going], gone, named)]


def _finish(
    root: str, left: "list[tuple[str, bool, str, str, int]]", named: bytes, around: "_Around"
) -> "tuple[list[tuple[str, bool, str, str, int]], int]":
    """Unlink the files that somebody else tells of already, who died before that; return the rest, and bytes freed.

    A second record could say something else than the first: of what a file itself tells each leaves out what others
    tell at that moment.  What cannot be unlinked is none of the rest: it is told of.  Only what was written here is
    asked: an imported file may tell that its source has evicted what this journal keeps.
    """
    others, freed = around.others, 0
    if not others.tell_any():
        return left, freed
    held, rest = dict(others.held()), []
    packed = {file for file in held if file[0] == "packed"}
    for one in left:
        file, size = (one[3], one[2]), one[4]
        segments = held.get(file, set())
        is_told = segments and all(others.tell(segment, {*packed, file}) for segment in segments)
        if not is_told or is_named(segments, named):
            rest.append(one)
            continue
        try:
            os.unlink(os.path.join(root, *file))
        except FileNotFoundError:
            raise
        except OSError:
            continue
        around.going.add(file)
        freed += size
    return rest, freed


def _add(victims: list[Victim], victim: "Victim | None", around: "_Around") -> int:
    """Take note of one more victim, if it is one; return how many bytes go with it."""
    if victim is None:
        return 0
    victims.append(victim)
    folder, name = os.path.split(victim.path)
    around.going.add((os.path.basename(folder), name))
    return victim.size


def _is_readable(path: str) -> bool:
    """Tell whether the packed file at *path* says what it holds."""
    try:
        return _says(carojournal.held.describe(path))
    except OSError:
        return True  # Whoever opens it next learns why not.


def _says(losses: "list[held.Loss]") -> bool:
    """Tell whether *losses* say anything of what a packed file holds; its name alone says no number."""
    return any(events or carried for _, _, _, events, carried in losses)


def _is_delivered(path: str, delivered: "Delivered") -> bool:
    """Tell whether receipts account for every event of the file: it goes first, since nobody misses it."""
    held = carojournal.held
    try:
        if not delivered.names(bytes.fromhex(os.path.basename(path)[17:49])):
            return False
        losses = held.describe(path)
        return _says(losses) and all(delivered.count(loss[0], loss[1], loss[2]) >= loss[3] for loss in losses)
    except (OSError, ValueError):
        return False


class _Around:
    """The files that stand; what they say is read when it is asked for the first time, and those in `going` go."""

    __slots__ = ("_files", "_others", "_root", "going")

    def __init__(self, root: str, files: "list[tuple[str, str]]") -> None:
        self._root = root
        self._files = files
        self._others: Others | None = None
        self.going = set[tuple[str, str]]()

    @property
    def others(self) -> "Others":
        if self._others is None:
            self._others = carojournal.predecessors.Others(self._root, self._files)
        return self._others


def _victim(
    root: str,
    file: tuple[str, str, int],
    named: bytes,
    gone: set[bytes],
    delivered: "Delivered",
    around: _Around,
) -> "Victim | None":
    """Return *file* (folder, name, bytes) as a victim, None if it must stay.

    *gone* are the segments that go, of which each counts once; *around* are the files that stand.
    """
    held = carojournal.held
    folder, name, size = file
    path = os.path.join(root, folder, name)
    try:
        losses = held.describe(path)
        if is_named((loss[0] for loss in losses), named):
            return None
        payloads: list[bytes] = []
        told = gone.copy()
        for segment, first, last, events, carried in losses:
            if segment in told:
                continue
            told.add(segment)
            if carried:
                others = around.others
                apart = {*around.going, *others.copies((segment,)), (folder, name)}
                payloads += carojournal.predecessors.take_asked_for(path, segment, carried, others, told, apart)
            share = size if len(losses) == 1 else size * events // max(1, sum(loss[3] for loss in losses))
            arrived = min(events, delivered.count(segment, first, last)) if delivered.names(segment) else 0
            if arrived and arrived == events:
                payloads.append(held.encode_loss(held.DELIVERED, segment, first, last, events, share, carried))
                continue
            if arrived:
                sums = carried.setdefault(held.DELIVERED, [0, 0, 0])
                sums[1] += arrived
            payloads.append(held.encode_loss(EVICTED, segment, first, last, events - arrived, share, carried))
    except FileNotFoundError:
        raise
    except OSError:
        return None
    gone |= told
    return Victim(path, size, payloads)


def _copies(root: str, left: "list[tuple[str, bool, str, str, int]]", gone: set[bytes], named: bytes) -> list[Victim]:
    """Return the files among *left* that hold nothing but segments which go anyway: what a killed `compact` left.

    None of which the outbox's bytes, *named*, name a segment.
    """
    held = carojournal.held
    found = []
    for _, is_closed, name, folder, size in left:
        path = os.path.join(root, folder, name)
        try:
            losses = [] if is_closed else held.describe(path)
            segments = {bytes.fromhex(name[17:49])} if is_closed else {loss[0] for loss in losses if _says(losses)}
        except (OSError, ValueError):
            continue
        if segments and segments <= gone and not is_named(segments, named):
            found.append(Victim(path, size, []))
    return found


def in_flight(root: str) -> bytes:
    """Return the outbox's bytes: a segment whose uuid occurs in them, raw or as text, belongs to a batch under way.

    A temporary file counts only as long as its writer lives and holds its lock: what a death left would keep files for
    ever.  What can be read by nobody names nothing; raises OSError where it is descriptors that are lacking at this
    moment.
    """
    found = b""
    try:
        names = os.listdir(os.path.join(root, "outbox"))
    except OSError as error:
        if carojournal.drops.drop_reason(error) == "descriptors":
            raise
        return found
    for name in names:
        try:
            with open(open_file(os.path.join(root, "outbox", name)), "rb") as file:
                if not name.endswith(".tmp") or _is_locked(file.fileno()):
                    found += file.read()
        except OSError as error:
            if carojournal.drops.drop_reason(error) == "descriptors":
                raise
    return found


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # A child that was forked meanwhile has the descriptor too.
    return False


def is_named(segments: "Iterable[bytes]", outbox: bytes) -> bool:
    """Tell whether *outbox*, its bytes as `in_flight` gives them, names one of *segments* (uuids), raw or as text."""
    return any(segment in outbox or segment.hex().encode() in outbox for segment in segments)
