"""Run a function in a forked child and stop it at each of its system calls: ptrace(2) behind a seccomp filter.

The child is a copy of a process that has everything loaded, so a run costs milliseconds, not an interpreter's start;
the filter makes that only calls of `syscalls` stop, and only from the moment on at which the function begins.  At a
stop the call has not happened yet: a kill there is a kill before it, an error replaces it, and a shorter count lets it
happen in part.  `close` happens and then fails, as it does on Linux.

    PTRACE_O_TRACESECCOMP   stop where the filter says so              seccomp(2), ptrace(2)
    registers               struct user_regs_struct, 27 x 8 bytes      sys/user.h

x86-64 only.
"""

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from faults.syscalls import BY_NUMBER, NAMES, Shape, changes

__all__ = ["FSYNCS", "Call", "Fault", "Run", "run"]

TIMEOUT_S = 60  # No operation here takes a second; what does not end is a hang.
FSYNCS = ("fsync", "fdatasync")
_AT_FDCWD = 0xFFFFFF9C  # As the low 32 bits of the register.
_WALL = 0x40000000
_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 7, 12, 13, 24, 0x4200
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # TRACESYSGOOD, FORK, VFORK, CLONE, SECCOMP, EXITKILL
_EVENT_SECCOMP = 7
_RAX, _RDX, _ORIG_RAX = 10, 12, 15
_ARGUMENTS = (14, 13, 12, 7, 9, 8)  # rdi rsi rdx r10 r8 r9
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_PATH_BYTES = 1024

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that is about to happen: `path` is the file's, absolute, or "socket:[...]".

    A socket that is not made yet is "socket:".  `is_writable`: a close of what was opened for writing.
    """

    shape: Shape
    arguments: tuple[int, ...]
    path: str
    is_writable: bool = False

    @property
    def name(self) -> str:
        """Return the call's name."""
        return self.shape.name

    @property
    def is_change(self) -> bool:
        """Tell whether it can change a disk or a peer."""
        return changes(self.shape, self.arguments)


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of a call: `kill` the process, fail with `number`, or (both absent) do half of what was asked."""

    kill: bool = False
    number: int = 0


@dataclass(slots=True)
class Run:
    """How a run ended: `code` is the exit code, negative for a signal; `hung` after TIMEOUT_S.

    `calls` counts those that were shown to the judge, `resynced` lists descriptors synced again after a failed sync.
    """

    code: int = 0
    calls: int = 0
    hung: bool = False
    resynced: list[str] = field(default_factory=list)


Judge = Callable[[Call], Fault | None]


def _ptrace(request: int, pid: int, address: object = None, data: object = None) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _filter(names: Collection[str]) -> bytes:
    """Return the BPF program: stop at the calls of `syscalls` that have these names, let the others pass."""
    numbers = sorted(shape.number for shape in BY_NUMBER.values() if shape.name in names)
    rows = [(0x20, 0, 0, 4), (0x15, 0, len(numbers) + 1, _ARCHITECTURE), (0x20, 0, 0, 0)]
    rows += [(0x15, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    rows += [(0x06, 0, 0, _ALLOW), (0x06, 0, 0, _TRACE)]
    return b"".join(struct.pack("<HBBI", *row) for row in rows)


def _child(body: Callable[[], int], names: Collection[str]) -> None:
    code = 70
    try:
        program = _filter(names)
        held = ctypes.create_string_buffer(program, len(program))
        given = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(held))
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_SECCOMP, _FILTER, given, 0, 0)
        code = body()
    finally:
        os._exit(code)


class _Tracee:
    """The child, its threads, and what is known about its descriptors."""

    def __init__(self, pid: int, judge: Judge, run: Run) -> None:
        self.pid = pid
        self._judge = judge
        self._run = run
        self._registers = ctypes.create_string_buffer(27 * 8)
        self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self._failing: dict[int, int] = {}  # Threads whose call happens first and fails then.
        self._unsynced: set[int] = set()  # Descriptors on which a sync has failed.

    def close(self) -> None:
        """Give up what looks at the child."""
        os.close(self._memory)

    def _read(self, thread: int) -> list[int]:
        _ptrace(_GETREGS, thread, None, self._registers)
        return list(struct.unpack("<27Q", self._registers.raw))

    def _write(self, thread: int, values: list[int]) -> None:
        self._registers.raw = struct.pack("<27Q", *values)
        _ptrace(_SETREGS, thread, None, self._registers)

    def _descriptor(self, number: int) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{number & 0xFFFFFFFF}")
        except OSError:
            return ""

    def _is_writable(self, number: int) -> bool:
        """Tell how a descriptor was opened: the permissions of its link say it, proc_pid_fd(5)."""
        try:
            return bool(os.lstat(f"/proc/{self.pid}/fd/{number & 0xFFFFFFFF}").st_mode & stat.S_IWUSR)
        except OSError:
            return False

    def _path(self, shape: Shape, arguments: tuple[int, ...]) -> str:
        if shape.path < 0:
            return self._descriptor(arguments[shape.descriptor]) if shape.descriptor >= 0 else "socket:"
        try:
            raw = os.pread(self._memory, _PATH_BYTES, arguments[shape.path])
        except OSError:
            return ""
        path = os.fsdecode(raw.partition(b"\0")[0])
        if path.startswith("/"):
            return path
        folder = arguments[shape.folder] & 0xFFFFFFFF if shape.folder >= 0 else _AT_FDCWD
        base = os.readlink(f"/proc/{self.pid}/cwd") if folder == _AT_FDCWD else self._descriptor(folder)
        return os.path.normpath(os.path.join(base, path))

    def at_call(self, thread: int) -> int:
        """Judge the call that *thread* is about to make; return the ptrace request with which it goes on."""
        values = self._read(thread)
        shape = BY_NUMBER.get(values[_ORIG_RAX])
        if shape is None:
            return _CONT
        arguments = tuple(values[at] for at in _ARGUMENTS)
        writable = shape.kind == "close" and self._is_writable(arguments[0])
        call = Call(shape, arguments, self._path(shape, arguments), writable)
        self._watch_syncs(call)
        fault = self._judge(call)
        if fault is None:
            return _CONT
        if fault.kill:
            os.kill(self.pid, signal.SIGKILL)
            return _CONT
        if not fault.number:
            values[_RDX] = max(1, arguments[2] // 2)
        elif shape.kind == "close":
            self._failing[thread] = fault.number
            return _SYSCALL
        else:
            # One that a signal interrupts has told nothing of the disk: the interpreter tries it again, PEP 475.
            if shape.name in FSYNCS and fault.number != errno.EINTR:
                self._unsynced.add(arguments[0])
            values[_ORIG_RAX] = 2**64 - 1
            values[_RAX] = 2**64 - fault.number
        self._write(thread, values)
        return _CONT

    def _watch_syncs(self, call: Call) -> None:
        if call.shape.kind == "close":
            self._unsynced.discard(call.arguments[0])
        elif call.name in FSYNCS and call.arguments[0] in self._unsynced:
            self._run.resynced.append(call.path)

    def at_return(self, thread: int) -> None:
        """Make a call that has happened fail."""
        number = self._failing.pop(thread, 0)
        if number:
            values = self._read(thread)
            values[_RAX] = 2**64 - number
            self._write(thread, values)


def _stopped(tracee: _Tracee, thread: int, status: int) -> None:
    """Deal with one stop and let *thread* go on."""
    request, passed = _CONT, 0
    what = os.WSTOPSIG(status)
    if status >> 16 == _EVENT_SECCOMP:
        request = tracee.at_call(thread)
    elif what == signal.SIGTRAP | 0x80:
        tracee.at_return(thread)
    elif what not in (signal.SIGTRAP, signal.SIGSTOP):
        passed = what
    try:
        _ptrace(request, thread, None, passed)
    except ProcessLookupError:
        return  # Killed, by us or with its process.


def run(body: Callable[[], int], judge: Judge, names: Collection[str] = NAMES) -> Run:
    """Call *body* in a child, show *judge* every call that it makes of these *names*, and say how it ended.

    *body* returns the exit code.  Waits for any child of this process, so there may be no other that ends meanwhile.
    Raises OSError where tracing is not allowed.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise OSError(errno.ENOSYS, "system calls are traced on Linux on x86-64 only")
    pid = os.fork()
    if not pid:
        _child(body, names)
    done = Run()
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, None, _OPTIONS)
    tracee = _Tracee(pid, lambda call: _counted(done, judge, call), done)
    before = signal.signal(signal.SIGALRM, lambda *_: _give_up(pid, done))
    signal.alarm(TIMEOUT_S)
    try:
        _ptrace(_CONT, pid)
        while True:
            thread, status = os.waitpid(-1, _WALL)
            if os.WIFSTOPPED(status):
                _stopped(tracee, thread, status)
            elif thread == pid:
                done.code = os.waitstatus_to_exitcode(status)
                return done
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        tracee.close()


def _counted(done: Run, judge: Judge, call: Call) -> Fault | None:
    done.calls += 1
    return judge(call)


def _give_up(pid: int, done: Run) -> None:
    done.hung = True
    os.kill(pid, signal.SIGKILL)
