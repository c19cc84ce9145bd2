"""The structure, held by force: import budget of the hot path, layers, one importer for each third-party package."""

import ast
import os
import subprocess
import sys

import pytest

import carojournal
from carojournal import packed_write

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
THIRD_PARTY = {
    "argh": "carojournal.cli.parser",
    "cbor2": "carojournal.codec",
    "filelock": "carojournal.locks",
    "dateutil": "carojournal.times",
    "tomlkit": "carojournal.config_edit",
    "zstandard": "carojournal.zstd",
    "requests": "carobatch.http",
    "cryptography": "carobatch.sshsig",
    "pyrage": "carobatch.age",
}
HOT = {
    "carojournal",
    "carojournal.events",
    "carojournal.frame",
    "carojournal.ids",
    "carojournal.journal",
    "carojournal.kinds",
    "carojournal.lanes",
    "carojournal.policy",
    "carojournal.redact",
}
# What the first event of a journal needs besides: it starts a segment.
FIRST_EVER = {f"carojournal.{name}" for name in ("cbor", "drops", "errors", "identity", "root", "rotation", "spool")}
HOT_STDLIB = {"_frozen_importlib_external", "_thread", "fcntl", "marshal", "os", "sys", "time"}
# Layers from the bottom; a module may import its own layer's lower neighbours and anything below.
HOT_ORDER = (
    "carojournal.events",
    "carojournal.errors",
    "carojournal.frame",
    "carojournal.cbor",
    "carojournal.cbordecode",
    "carojournal.shape",
    "carojournal.policy",
    "carojournal.snapshot",
    "carojournal.nowhere",
    "carojournal.refusal",
    "carojournal.kinds",
    "carojournal.redact",
    "carojournal.grammars",
    "carojournal.error_codes",
    "carojournal.root",
    "carojournal.identity",
    "carojournal.ids",
    "carojournal.drops",
    "carojournal.held",
    "carojournal.delivered",
    "carojournal.predecessors",
    "carojournal.eviction",
    "carojournal.spool",
    "carojournal.lanes",
    "carojournal.rotation",
    "carojournal.tally",
    "carojournal.runs",
    "carojournal.batches",
    "carojournal.journal",
)


def fresh(code, *arguments):
    """Return what *code* prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={
            "HOME": "/nonexistent",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((HERE, f"{HERE}/tools")),
        },
    )
    return done.stdout.split()


def modules():
    """Yield (module name, path) of every module of both packages."""
    for top in ("carojournal", "tools/carobatch"):
        for folder, _, files in os.walk(os.path.join(HERE, top)):
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    dotted = os.path.relpath(path, os.path.join(HERE, "tools") if top != "carojournal" else HERE)
                    yield dotted[:-3].replace(os.sep, ".").removesuffix(".__init__"), path


def imports(path, *, top_level=False):
    """Return the names that a module imports; only at import time if *top_level* (TYPE_CHECKING blocks left out)."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found = set()

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                found.add(child.module)
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child)

    visit(tree)
    return found


FIRST_EVENT = (
    "import sys; before = set(sys.modules)\n"
    "from carojournal import Journal\n"
    "journal = Journal.open(sys.argv[1], admin='/nonexistent')\n"
    "assert journal.record('session_start', caro_version='1.1.0', os='linux')\n"
    "print(*sorted(set(sys.modules) - before))\n"
)


def test_a_first_event_imports_the_hot_path_and_nothing_else(tmp_path):
    first = set(fresh(FIRST_EVENT, str(tmp_path / "root")))
    # Not zlib either, where it is a shared library: then it is loaded for a process's later events.
    built_in = {"zlib"} & set(sys.builtin_module_names)
    assert first - FIRST_EVER - HOT_STDLIB - built_in == HOT
    assert set(fresh(FIRST_EVENT, str(tmp_path / "root"))) - HOT_STDLIB - built_in == HOT


def test_an_event_behind_a_torn_one_imports_nothing_of_the_readers(tmp_path):
    """A host that comes after one that died must not wait for what readers need."""
    root = tmp_path / "root"
    fresh(FIRST_EVENT, str(root))
    with open(root / "lanes" / "0.seg", "ab") as file:
        file.write(b"\x84\x1a\0")
    found = set(fresh(FIRST_EVENT, str(root)))
    assert [path.name[-1] for path in (root / "segments").iterdir()] == ["~"]
    assert found - HOT_STDLIB - {"zlib"} <= HOT | FIRST_EVER | {"carojournal.cbordecode"}


def test_a_disabled_journal_imports_no_more(tmp_path):
    code = (
        "import sys; before = set(sys.modules)\n"
        "from carojournal import Journal\n"
        "assert not Journal.open(sys.argv[1], mode='off').record('session_start')\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    assert set(fresh(code, str(tmp_path / "root"))) - HOT_STDLIB - {"zlib"} <= HOT


def test_importing_the_package_imports_nothing():
    assert fresh("import sys; b = set(sys.modules); import carojournal; print(*(set(sys.modules) - b))") == [
        "carojournal"
    ]


def test_every_module_that_an_append_may_load_has_its_layer():
    loaded = {f"carojournal.{name}" for name in (*carojournal._RARELY_NEEDED, *carojournal._HOT)}
    assert loaded <= set(HOT_ORDER)


@pytest.mark.parametrize("name", HOT_ORDER)
def test_hot_modules_import_only_lower_ones_and_the_few_of_the_standard_library(name):
    path = os.path.join(HERE, name.replace(".", os.sep) + ".py")
    below = set(HOT_ORDER[: HOT_ORDER.index(name)]) | {"carojournal"}
    allowed = below | HOT_STDLIB | ({"zlib"} if name == "carojournal.frame" else set())
    for imported in imports(path, top_level=True):
        assert imported in allowed or imported.rpartition(".")[0] in allowed, f"{name} imports {imported}"


@pytest.mark.parametrize("name", HOT_ORDER)
def test_no_hot_module_loads_another_at_its_top(name):
    """Why: `carojournal._load`."""
    with open(os.path.join(HERE, name.replace(".", os.sep) + ".py"), encoding="utf-8") as file:
        tops = [node for node in ast.parse(file.read()).body if isinstance(node, ast.ImportFrom)]
    named = {alias.name for node in tops if node.module == "carojournal" for alias in node.names}
    assert named.isdisjoint(carojournal._RARELY_NEEDED)


@pytest.mark.parametrize("name", sorted(HOT))
def test_hot_modules_import_modules_and_no_names_out_of_them(name):
    """Why: `carojournal.__init__`."""
    path = carojournal.__file__ if name == "carojournal" else os.path.join(HERE, name.replace(".", os.sep) + ".py")
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    assert {node.module for node in tree.body if isinstance(node, ast.ImportFrom)} <= {"carojournal"}


def test_carojournal_never_imports_carobatch():
    for name, path in modules():
        if name.startswith("carojournal"):
            assert not {used for used in imports(path) if used and used.startswith("carobatch")}, name


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_one_third_party_package_has_one_importing_module(package):
    users = {name for name, path in modules() if any((used or "").split(".")[0] == package for used in imports(path))}
    assert users <= {THIRD_PARTY[package]}


def test_no_other_third_party_package_is_imported():
    known = set(sys.stdlib_module_names) | {"carojournal", "carobatch"} | set(THIRD_PARTY)
    for name, path in modules():
        strangers = {used.split(".")[0] for used in imports(path) if used} - known
        assert not strangers, f"{name} imports {strangers}"


def test_every_module_that_decides_what_is_kept_is_part_of_the_rules_hash():
    package = os.path.join(HERE, "carojournal")
    encodings = {"cbor", "cbordecode", "codec", "errors", "frame", "patterns"}  # Patterns are hashed as a folder.
    reached, pending = set(), {"recheck"}
    while pending:
        module = pending.pop()
        reached.add(module)
        with open(os.path.join(package, f"{module}.py"), encoding="utf-8") as file:
            tree = ast.parse(file.read())
        # `carojournal.X` is how the hot path names what it loads only when it is needed.
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        named &= (
            set(carojournal._RARELY_NEEDED)
            if "carojournal" in imports(os.path.join(package, f"{module}.py"))
            else set()
        )
        named |= {
            used.split(".")[1]
            for used in imports(os.path.join(package, f"{module}.py"))
            if (used or "").startswith("carojournal.")
        }
        pending |= {name for name in named - reached - encodings if os.path.exists(os.path.join(package, f"{name}.py"))}
    assert reached == set(packed_write._RULES)
