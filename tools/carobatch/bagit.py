"""BagIt checked strictly: RFC 8493 (1.0), and the drafts 0.93 to 0.97 where they are more lenient.

`check_bag` judges any bag through `BagFiles`, be it a directory or a bundle that was read once; it is not told how
hashes come about.  Errors make a bag invalid, warnings do not.  Strict means

* bagit.txt has exactly its two lines, no byte order mark, and in 1.0 exactly one blank after the colon;
* a path stays within the bag: not absolute, no "..", no "~", no drive letter; the same holds in fetch.txt;
* 1.0: every payload file in every payload manifest, and no path twice in one; before: in at least one, and a path twice
  only with the same hash;
* a file that fetch.txt promises must be here: nothing is ever fetched.
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Protocol

from carojournal.errors import DamagedData

__all__ = ["ALGORITHMS", "TAG_BYTES_MAX", "Bag", "BagFiles", "check_bag"]

ALGORITHMS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}  # hex digits
TAG_BYTES_MAX = 8_388_608  # Of one tag file: a manifest line takes 150 bytes, and one bundle has far fewer than 50,000.
# RFC 8493 wants UTF-8 and lets old bags have others; Python has codecs that are none of text, and slow ones.
_ENCODINGS = frozenset(("utf-8", "utf-16", "utf-32", "ascii", "cp1252", *(f"iso8859-{part}" for part in range(1, 17))))
_VERSIONS = {(0, minor) for minor in range(93, 98)} | {(1, 0)}
_MANIFEST = re.compile(r"(tag)?manifest-([a-z0-9]+)\.txt")
_LINE = re.compile(r"([0-9A-Fa-f]+)[ \t]+(\*?)(.*)")
_SHOWN = 80  # Characters of a path in a message.


class BagFiles(Protocol):
    """The files of a bag, by path below its folder, with "/" as separator."""

    def paths(self) -> list[str]:
        """Return the paths of all regular files."""

    def has_folder(self, path: str) -> bool:
        """Tell whether there is such a folder."""

    def read(self, path: str) -> bytes:
        """Return a tag file's bytes, at most TAG_BYTES_MAX.  Raises DamagedData if it is larger."""

    def digest(self, path: str, algorithm: str) -> str:
        """Return the hash of a file in lower-case hexadecimal.  Raises DamagedData for one that was not computed."""

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""


@dataclass(slots=True)
class Bag:
    """What a check found.  `payload` maps a payload file's path to the algorithms under which it was verified."""

    version: tuple[int, int] = (0, 0)
    encoding: str = "UTF-8"
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    info: dict[str, list[str]] = field(default_factory=dict)
    payload: dict[str, set[str]] = field(default_factory=dict)


def _shown(path: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in path)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def check_bag(files: BagFiles) -> Bag:
    """Return what is wrong with a bag, and what it says of itself.  Raises OSError if it cannot be read."""
    bag = Bag()
    here = {unicodedata.normalize("NFC", path): path for path in files.paths()}
    try:
        _declaration(files, here, bag)
        if bag.errors:
            return bag
        payload = {path for path in here if path.startswith("data/")}
        bag.payload = {path: set() for path in payload}
        if not payload and not files.has_folder("data"):
            bag.errors.append("no folder data/")
        manifests = [(path, found) for path in sorted(here) if "/" not in path and (found := _MANIFEST.fullmatch(path))]
        if not any(not found[1] for _, found in manifests):
            bag.errors.append("no payload manifest")
        for path, found in manifests:
            if found[2] not in ALGORITHMS:
                bag.errors.append(f"{path}: an algorithm that this program does not know")
                continue
            _check_manifest(files, here, bag, path, found[2], is_tag=bool(found[1]))
        for path in sorted(payload):
            if not bag.payload[path]:
                bag.errors.append(f"{_shown(path)}: in no payload manifest")
        _check_fetch(files, here, bag)
        _check_info(files, here, bag, payload)
    except DamagedData as error:
        bag.errors.append(error.reason)
    return bag


def _declaration(files: BagFiles, here: dict[str, str], bag: Bag) -> None:
    if "bagit.txt" not in here:
        bag.errors.append("no bagit.txt")
        return
    data = files.read("bagit.txt")
    try:
        lines = data.decode("utf-8").removesuffix("\n").removesuffix("\r").split("\n")
    except UnicodeDecodeError:
        lines = []
    lines = [line.removesuffix("\r") for line in lines]
    patterns = (r"BagIt-Version: (\d{1,3})\.(\d{1,3})", r"Tag-File-Character-Encoding: (\S+)")
    if len(lines) != 2 or not (version := re.fullmatch(patterns[0], lines[0].rstrip(" "), re.ASCII)):
        bag.errors.append("bagit.txt: not the two lines of a bag declaration")
        return
    bag.version = (int(version[1]), int(version[2]))
    encoding = re.fullmatch(patterns[1], lines[1].rstrip(" "))
    if bag.version not in _VERSIONS or not encoding:
        bag.errors.append("bagit.txt: a version or encoding that this program does not know")
        return
    if bag.version >= (1, 0) and (lines[0] != version[0] or lines[1] != encoding[0]):
        bag.errors.append("bagit.txt: blanks where none may be")
    bag.encoding = encoding[1]
    try:
        known = codecs.lookup(bag.encoding).name in _ENCODINGS
    except (LookupError, ValueError):
        known = False
    if not known:
        bag.errors.append("bagit.txt: an encoding that this program does not know")


def _text(files: BagFiles, bag: Bag, path: str) -> list[str]:
    """Return the lines of a tag file.  Raises DamagedData."""
    try:
        text = files.read(path).decode(bag.encoding)
    except UnicodeDecodeError as error:
        raise DamagedData(path, 0, f"{path}: not in the encoding that bagit.txt names") from error
    return [line for line in re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")) if line.strip()]


def _scope(path: str) -> bool:
    """Tell whether *path* stays within the bag."""
    if not path or path.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:", path) or "\0" in path:
        return False
    return ".." not in re.split(r"[/\\]", path)


def _entry(bag: Bag, here: dict[str, str], name: str, raw: str) -> str | None:
    """Return the path that a manifest line or fetch line names, as `here` has it, or None if it is out of scope."""
    path = unicodedata.normalize("NFC", raw)
    if path.startswith("./"):
        bag.warnings.append(f"{name}: a path with a leading ./")
        path = path[2:]
    decoded = re.sub(r"%0[aA]", "\n", re.sub(r"%0[dD]", "\r", path))
    if bag.version >= (1, 0):
        decoded = decoded.replace("%25", "%")
    elif path in here:
        decoded = path
    if not _scope(decoded):
        bag.errors.append(f"{name}: a path that leads out of the bag")
        return None
    return decoded


def _check_manifest(
    files: BagFiles, here: dict[str, str], bag: Bag, name: str, algorithm: str, *, is_tag: bool
) -> None:
    seen: dict[str, str] = {}
    for line in _text(files, bag, name):
        found = _LINE.fullmatch(line)
        if not found or len(found[1]) != ALGORITHMS[algorithm]:
            bag.errors.append(f"{name}: a line that is no checksum and path")
            continue
        if found[2]:
            bag.warnings.append(f"{name}: a path marked * as md5sum does")
        path = _entry(bag, here, name, found[3])
        if path is None:
            continue
        digest = found[1].lower()
        if path in seen:
            if bag.version >= (1, 0) or seen[path] != digest:
                bag.errors.append(f"{name}: {_shown(path)} is listed twice")
            else:
                bag.warnings.append(f"{name}: {_shown(path)} is listed twice")
            continue
        seen[path] = digest
        _check_entry(files, here, bag, name, path, digest, algorithm, is_tag=is_tag)
    if not is_tag and bag.version >= (1, 0):
        for path in sorted(set(bag.payload) - set(seen)):
            bag.errors.append(f"{_shown(path)}: not in {name}")


def _check_entry(
    files: BagFiles, here: dict[str, str], bag: Bag, name: str, path: str, digest: str, algorithm: str, *, is_tag: bool
) -> None:
    if is_tag == path.startswith("data/"):
        bag.errors.append(f"{name}: {_shown(path)} does not belong there")
    elif path not in here:
        bag.errors.append(f"{_shown(path)}: listed in {name} but missing")
    elif files.digest(here[path], algorithm) != digest:
        bag.errors.append(f"{_shown(path)}: its checksum in {name} does not hold")
    elif not is_tag:
        bag.payload[path].add(algorithm)


def _check_fetch(files: BagFiles, here: dict[str, str], bag: Bag) -> None:
    if "fetch.txt" not in here:
        return
    for line in _text(files, bag, "fetch.txt"):
        words = line.split(None, 2)
        if len(words) != 3 or not (words[1] == "-" or words[1].isdigit()):
            bag.errors.append("fetch.txt: a line that is no URL, length and path")
            continue
        path = _entry(bag, here, "fetch.txt", words[2])
        if path is not None and path not in here:
            bag.errors.append(f"{_shown(path)}: only promised by fetch.txt; nothing is fetched")


def _check_info(files: BagFiles, here: dict[str, str], bag: Bag, payload: set[str]) -> None:
    if "bag-info.txt" not in here:
        return
    last: list[str] = []
    for line in _text(files, bag, "bag-info.txt"):
        if line[0] in " \t" and last:
            last[-1] += " " + line.strip()
            continue
        label, colon, value = line.partition(":")
        if not colon or not label.strip() or label[0].isspace():
            bag.errors.append("bag-info.txt: a line that is no label and value")
            continue
        last = bag.info.setdefault(label.rstrip(), [])
        last.append(value.lstrip())
    for oxum in bag.info.get("Payload-Oxum", []):
        total = sum(files.size(here[path]) for path in payload)
        if oxum.strip() != f"{total}.{len(payload)}":
            bag.errors.append("bag-info.txt: Payload-Oxum is not what data/ holds")
