"""How the package loads its own modules: as the import system would, without the search."""

import importlib.util
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
import zipfile

import pytest

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(code, path=HERE, *arguments):
    """Return what *code* prints in an interpreter that finds the package in *path*."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": "/nonexistent", "PATH": os.environ["PATH"], "PYTHONPATH": str(path)},
        cwd=os.sep,  # `-c` looks into the working directory first.
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def copied(folder):
    """Return a copy of the package's own modules, in *folder*."""
    ignored = shutil.ignore_patterns("__pycache__", "*.md")
    return pathlib.Path(shutil.copytree(f"{HERE}/carojournal", folder / "carojournal", ignore=ignored))


@pytest.mark.parametrize("name", ["journal", "lanes", "redact", "errors", "spool"])
def test_a_module_has_what_the_import_system_gives_it(name):
    """`__spec__`, `__file__`, `__package__` and the source are those of an ordinary import; it can be reloaded."""
    look = (
        f"import importlib, inspect, sys; m = sys.modules['carojournal.{name}']; s = m.__spec__;"
        "print(m.__name__, m.__package__, m.__file__, s.name, s.origin, s.cached, s.has_location, s.parent,"
        f" type(s.loader).__name__, s.loader.name, s.loader.path, m is getattr(sys.modules['carojournal'], '{name}'),"
        " len(inspect.getsource(m)), importlib.reload(m) is m)"
    )
    ours = run(f"import carojournal; carojournal.Journal; carojournal._load('{name}'); {look}")
    ordinary = run(f"import carojournal.{name}; {look}")
    assert ours == ordinary
    assert "SourceFileLoader" in ours


def test_names_in_use_are_of_one_copy_whoever_imports_first():
    """A cold module that imports a hot one in the ordinary way, before or after, gets the same objects."""
    code = (
        "import sys\n{}\nimport carojournal.journal, carojournal.redact, carojournal.errors\n"
        "j = sys.modules['carojournal.journal']\n"
        "print(carojournal.Journal is j.Journal, j.redact is sys.modules['carojournal.redact'],"
        " carojournal.errors is sys.modules['carojournal.errors'],"
        " j.lanes is sys.modules['carojournal.lanes'])"
    )
    for first in ("import carojournal.reader, carojournal.lanes", "import carojournal; carojournal.Journal"):
        assert run(code.format(first)) == "True True True True"


def test_threads_that_import_at_the_same_time_get_whole_modules():
    """Ordinary imports and lazy ones, in eight threads at once, never see half a module."""
    code = (
        "import sys, threading; sys.setswitchinterval(1e-6)\n"
        "gate = threading.Barrier(8); seen = []\n"
        "def lazily():\n"
        "    gate.wait(); import carojournal; seen.append((carojournal.Journal.open, carojournal.errors.JournalOff))\n"
        "def ordinarily():\n"
        "    gate.wait(); from carojournal.redact import check; from carojournal.lanes import Lane\n"
        "    from carojournal.errors import JournalOff; seen.append((check, JournalOff))\n"
        "ts = [threading.Thread(target=lazily if n % 2 else ordinarily) for n in range(8)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]; print(len(seen))"
    )
    for _ in range(5):
        assert run(code) == "8"


def test_an_edited_source_is_what_runs(tmp_path):
    """Caches are checked as ever: a changed module beside an old cache is compiled anew."""
    package = copied(tmp_path)
    code = "import carojournal; carojournal.Journal; print(carojournal.frame.PAYLOAD_BYTES_MAX)"
    assert run(code, tmp_path) == "65536"
    source = package / "frame.py"
    source.write_text(source.read_text().replace("PAYLOAD_BYTES_MAX = 65_536", "PAYLOAD_BYTES_MAX = 12_345_678"))
    assert run(code, tmp_path) == "12345678"


@pytest.mark.parametrize("change", ["none", "unchecked", "other magic", "other folder", "empty", "missing"])
def test_a_cache_that_is_out_of_the_ordinary_is_left_to_the_import_system(tmp_path, change):
    """What runs is what an ordinary import runs: PEP 552's unchecked caches win over the source, bad ones lose."""
    package = copied(tmp_path)
    source = package / "frame.py"
    kept = source.read_text().replace("PAYLOAD_BYTES_MAX = 65_536", "PAYLOAD_BYTES_MAX = 12_345")
    cache = pathlib.Path(importlib.util.cache_from_source(str(source)))
    other = tmp_path / "other.py"
    other.write_text(kept)
    mode = py_compile.PycInvalidationMode
    if change in ("none", "other folder"):
        py_compile.compile(str(source), dfile="/elsewhere/frame.py" if change == "other folder" else None)
    else:
        py_compile.compile(str(other), str(cache), str(source), invalidation_mode=mode.UNCHECKED_HASH)
    if change == "other magic":
        cache.write_bytes(b"\0" + cache.read_bytes()[1:])
    elif change == "empty":
        cache.write_bytes(b"")
    elif change == "missing":
        cache.unlink()
    look = "m = sys.modules['carojournal.frame']; print(m.PAYLOAD_BYTES_MAX, m.encode_record.__code__.co_filename)"
    ours = run(f"import sys, carojournal; carojournal.Journal; {look}", tmp_path)
    assert ours == f"{'12345' if change == 'unchecked' else '65536'} {source}"
    assert ours == run(f"import sys, carojournal.frame; {look}", tmp_path)


def test_the_package_runs_from_a_zip_file(tmp_path):
    """Where there is no directory to look into, the import system does the work."""
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in os.listdir(f"{HERE}/carojournal"):
            if name.endswith(".py"):
                packed.write(f"{HERE}/carojournal/{name}", f"carojournal/{name}")
    code = (
        "import sys, carojournal; j = carojournal.Journal.open(sys.argv[1]);"
        "print(j.record('session_start', caro_version='1.1.0', os='linux'), type(carojournal.__spec__.loader).__name__)"
    )
    assert run(code, archive, str(tmp_path / "j")) == "True zipimporter"


def test_a_fork_waits_until_no_thread_is_loading_a_module(tmp_path):
    """A child of a threaded host can use a module that another thread was loading when it was forked."""
    package = copied(tmp_path)
    slow = package / "rotation.py"
    # The module tells that it is being loaded, and goes on when the other thread is about to fork.
    slow.write_text(slow.read_text() + "\nimport builtins\nbuiltins.inside.set()\nbuiltins.forking.wait()\n")
    code = (
        "import builtins, os, sys, threading\n"
        "inside, forking = builtins.inside, builtins.forking = threading.Event(), threading.Event()\n"
        "import carojournal\n"
        "os.register_at_fork(before=forking.set)\n"  # Runs before the package's own: the latest comes first.
        "loader = threading.Thread(target=lambda: carojournal.rotation); loader.start(); inside.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    j = carojournal.Journal.open(sys.argv[1])\n"
        "    os._exit(0 if j.record('session_start', caro_version='1.1.0', os='linux') else 1)\n"
        "loader.join(); print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert run(code, tmp_path, str(tmp_path / "j")) == "0"


def test_whatever_an_append_loads_a_fork_waits_for(tmp_path):
    """From the first event to evictions with loss records of their own, refusals, batches and a full disk's drops.

    Modules that other threads have loaded by half are what a child of `fork` waits for without end.
    """
    code = (
        "import sys; [sys.modules.pop(name, None) for name in ('zlib', 'errno', 'select')]\n"
        "import os, carojournal\n"
        "bad, watching = [], False\n"
        "def hook(event, words):\n"
        "    if watching and event == 'import' and not carojournal._loading._is_owned(): bad.append(words[0])\n"
        "sys.addaudithook(hook)\n"
        "root, home = sys.argv[1:]\n"
        "journal = carojournal.Journal.open(root, environ={'HOME': home}, admin='/nonexistent', channel='beta')\n"
        "watching = True\n"
        "kept = journal.record('session_start', caro_version='1.1.0', os='linux')\n"
        "for number in range(14_000):\n"
        "    kept += journal.record('command_generated', backend_used='ollama', inference_time_ms=number)\n"
        "journal.record('session_start', token='x'); journal.record('no such event')\n"
        "kept += journal.append_many([('session_end', {'session_duration_ms': 1})] * 3) is not None\n"
        "os.rename(root, root + '-away'); os.mkdir(root + '-foreign'); os.symlink(root + '-foreign', root)\n"
        "journal.record('session_end'); journal.close(); watching = False\n"
        "print(kept, sorted(set(bad)), 'zlib' in sys.modules, 'carojournal.held' in sys.modules, os.listdir(root))"
    )
    home = tmp_path / "home"
    (home / ".config" / "caro").mkdir(parents=True)
    (home / ".config" / "caro" / "config.toml").write_text("[telemetry]\noffline_spool_max_mb = 1\n")
    assert run(code, HERE, str(tmp_path / "j"), str(home)) == "14002 [] True True []"


@pytest.mark.parametrize("body", [b"", b"\xe3junk", b"N"])
def test_where_no_cache_can_be_named_or_its_body_is_none_the_loader_decides(tmp_path, body):
    """`sys.implementation.cache_tag` may be None; and a good header does not make code of what follows it."""
    package = copied(tmp_path)
    cache = pathlib.Path(importlib.util.cache_from_source(str(package / "frame.py")))
    py_compile.compile(str(package / "frame.py"))
    cache.write_bytes(cache.read_bytes()[:16] + body)
    code = (
        f"import carojournal; path = {str(package / 'frame.py')!r}; bad = carojournal._compiled('frame', path)\n"
        f"open('events', 'wb').write(open({str(cache)!r}, 'rb').read())\n"
        "carojournal.__spec__.cached = None; print(bad, carojournal._compiled('events', path))"
    )
    assert run(f"import os; os.chdir({str(tmp_path)!r}); {code}", tmp_path) == "None None"


@pytest.mark.parametrize("name", ["root", "identity", "drops", "refusal", "tally"])
def test_a_first_event_beside_an_import_in_the_ordinary_way_ends(tmp_path, name):
    """A thread is in the middle of importing what the first event of another one needs; both come to their end."""
    code = """
import sys, threading
import carojournal
from importlib._bootstrap_external import SourceFileLoader

load, entered, wanted = SourceFileLoader.exec_module, threading.Event(), threading.Event()

def exec_module(self, module):
    if module.__name__ == f"carojournal.{sys.argv[1]}" and threading.current_thread() is importing:
        entered.set()
        wanted.wait()
    load(self, module)

SourceFileLoader.exec_module = exec_module
importing = threading.Thread(target=__import__, args=(f"carojournal.{sys.argv[1]}",), daemon=True)
journal = carojournal.Journal.open(sys.argv[2], admin="/nonexistent")

def record():
    entered.wait()
    lock = carojournal._loading

    class Watched:
        def __enter__(self):
            lock.acquire()
            wanted.set()  # From now on the other thread must not need this lock.

        def __exit__(self, *_):
            lock.release()

    carojournal._loading = Watched()
    journal.record("session_start", caro_version="1.1.0", os="linux")
    journal.record("session_start", caro_version="1.1.0", os="linux", shell="none of ours")
    journal.record("session_start")
    wanted.set()

recording = threading.Thread(target=record, daemon=True)
threads = (importing, recording)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
print(*[thread.is_alive() for thread in threads])
"""
    assert run(code, HERE, name, str(tmp_path / "j")) == "False False"
