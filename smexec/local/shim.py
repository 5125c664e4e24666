"""The process between the service and one container: it makes the container's world, runs its command and
sees to it that nothing of it is left.

It is started as a script (``python -I -S shim.py``), with the standard library alone, since it starts once
per container and every millisecond counts. Its standard input is the lifeline: first the *plan* (a length
and JSON, see :class:`Plan`), then single bytes of orders, :data:`TERMINATE` or :data:`KILL`. Its end, also
when the service is killed, means :data:`KILL`. Standard output and error are the container's own.

The platform runs containers under a small init (its jobs report ``[FATAL tini (7)] exec train failed``), so
that a command is not PID 1 and dies of SIGTERM unless it handles it. So does this one: with a PID namespace
the shim forks a PID 1, which forks the command; when PID 1 ends, the kernel ends the rest. Without one, the
shim adopts orphans (``PR_SET_CHILD_SUBREAPER``) and kills what is left.

Exit code: the command's own, 128 + n after signal n; 127 and 126 as in shells; :data:`BROKEN` if the world
could not be made.
"""

# pathlib would be a quarter of the time that it takes to start.
# ruff: noqa: PTH102, PTH112, PTH113, PTH114, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211
from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypedDict

LENGTH = struct.Struct(">I")
TERMINATE = b"T"
KILL = b"K"

BROKEN = 125  # as docker and podman do when it is not the command that failed
NOT_EXECUTABLE = 126
NOT_FOUND = 127

#: Nothing else of a container's files belongs to the platform: what an image has beside them stays visible.
OPT_ML = "/opt/ml"

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET,
}
#: Not for the shim, whose orders come by the lifeline. Blocked rather than ignored, so that a command which
#: is told to end before it has begun ends all the same.
BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class Plan(TypedDict):
    """What the service tells the shim. Paths are the host's."""

    command: list[str]
    environment: dict[str, str]
    workdir: str
    namespaces: list[str]  # of NAMESPACES; none: the command runs as any process does
    opt_ml: str  # the directory to be seen as /opt/ml (with "mount")
    read_only: list[str]  # paths below OPT_ML
    files: dict[str, str]  # path in the container -> file to be seen there, if there is one
    hostname: str
    relays: list[str]  # addresses, two and two, that connect its network with this machine; see relay.py
    end: list[str]  # for a real container: the engine's command that kills it; else empty


def main() -> int:
    """Read the plan, run it, return the exit code."""
    plan = read_plan()
    signals = Signals()
    try:
        enter_namespaces(plan["namespaces"])
    except OSError as error:
        return broken(error)
    if plan["end"]:
        return run_engine(plan, signals)
    adopt_orphans()
    if "pid" not in plan["namespaces"]:
        return run_command(plan, signals)
    first = os.fork()
    if first == 0:
        os._exit(run_first(plan))
    # PID 1 reads the orders. When it dies, of our own death too, all that it has started goes with it.
    return exit_code(os.waitpid(first, 0)[1])


def run_first(plan: Plan) -> int:
    """PID 1 of a PID namespace: when it ends, the kernel kills what is left of the container."""
    die_with_parent()
    return run_command(plan, Signals())


# -- the lifeline ------------------------------------------------------------------------------------------


def read_plan() -> Plan:
    """The first thing that the lifeline brings."""
    plan: Plan = json.loads(read_exactly(LENGTH.unpack(read_exactly(LENGTH.size))[0]))
    return plan


def read_exactly(size: int) -> bytes:
    """From standard input, unbuffered: the orders that follow are PID 1's to read."""
    parts = []
    while size:
        part = os.read(0, size)
        if not part:
            raise EOFError("the service ended before it had told its plan")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Signals:
    """Makes SIGCHLD something that can be waited for beside the orders."""

    def __init__(self) -> None:
        self._readable, writable = os.pipe()
        os.set_blocking(writable, False)
        os.set_blocking(self._readable, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)

    def orders(self, timeout: Callable[[], float | None] = lambda: None) -> Iterator[bytes]:
        """One item whenever something happened: an order; nothing if a child may have ended or time is up."""
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(self._readable, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(timeout())}
                if self._readable in ready:
                    os.read(self._readable, 512)
                if 0 not in ready:
                    yield b""
                    continue
                order = os.read(0, 1) or KILL
                if order == KILL:
                    selector.unregister(0)  # nothing can follow, and the end of a pipe is readable for ever
                yield order


# -- running -----------------------------------------------------------------------------------------------


def run_command(plan: Plan, signals: Signals) -> int:
    """The command itself, to its end and that of everything it has started."""
    if not is_joined(plan):
        return BROKEN
    main_process = os.fork()
    if main_process == 0:
        become(plan)
    code = follow(main_process, signals)
    if "pid" not in plan["namespaces"]:  # else the kernel does it, when PID 1 ends
        sweep(main_process)
    return code


def follow(main_process: int, signals: Signals) -> int:
    """Hand the orders on until the main process has ended."""
    for order in signals.orders():
        if order == TERMINATE:
            send(main_process, signal.SIGTERM)
        elif order == KILL:
            send(main_process, signal.SIGKILL)
            return 128 + signal.SIGKILL
        status = reap(main_process)
        if status is not None:
            return exit_code(status)
    raise AssertionError("orders never end")


def run_engine(plan: Plan, signals: Signals) -> int:
    """An engine's client, which hands SIGTERM on to its container; killing is the engine's business."""
    if not is_joined(plan):
        return BROKEN
    client = os.fork()
    if client == 0:
        become(plan)
    given = bytearray()
    for order in signals.orders(lambda: 0.02 if KILL in given else None):  # noqa: B023  (it never changes)
        given += order
        if order == TERMINATE:
            send(client, signal.SIGTERM)
        if KILL in given:  # again and again, since the container may be about to start
            call(plan["end"], plan["environment"])
        status = reap(client)
        if status is not None:
            if given:  # a client that was told to end before it had taken charge leaves its container behind
                call(plan["end"], plan["environment"])
            return exit_code(status)
    raise AssertionError("orders never end")


def is_joined(plan: Plan) -> bool:
    """Start what joins the container's network with this machine; whether it is ready."""
    if not plan["relays"]:
        return True
    readable, writable = os.pipe()
    if os.fork() == 0:
        die_with_parent()
        os.set_inheritable(writable, True)
        relay = os.path.join(os.path.dirname(__file__), "relay.py")
        execute([sys.executable, "-I", "-S", relay, str(writable), *plan["relays"]], dict(os.environ))
    os.close(writable)
    said = os.read(readable, 1)
    os.close(readable)
    return bool(said)


def call(command: list[str], environment: dict[str, str]) -> None:
    """Run a command to its end, silently: "no such container" is what it says when all is well."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        execute(command, environment)
    os.waitpid(child, 0)


def send(process: int, number: signal.Signals) -> None:
    """A signal, if the process is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def reap(main_process: int) -> int | None:
    """Bury whatever died, adopted orphans too; the wait status of the main process if it is among them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return None
            if process == main_process:
                return status
    return None


def sweep(main_process: int) -> None:
    """Kill and bury everything that is left: our children, and theirs once they have become ours."""
    if sys.platform != "linux":  # its group is all that can be found
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(main_process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in children():
                send(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def children() -> list[int]:
    """Of this process, as /proc tells."""
    me, found = str(os.getpid()), []
    for entry in os.listdir("/proc") if sys.platform == "linux" else ():
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                # pid (name) state ppid …; a name may hold spaces and brackets
                if file.read().rpartition(b")")[2].split()[1].decode() == me:
                    found.append(int(entry))
    return found


def exit_code(status: int) -> int:
    """Of a wait status, as shells and docker have it."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def become(plan: Plan) -> NoReturn:
    """In the child: enter the container's world and turn into its command."""
    try:
        die_with_parent()
        os.setsid()
        signal.set_wakeup_fd(-1)
        # Python itself ignores the last two, and what is ignored stays so in the command.
        for number in (*BLOCKED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if "mount" in plan["namespaces"]:
            mount_world(plan)
        if "uts" in plan["namespaces"]:
            socket.sethostname(plan["hostname"])
        os.chdir(plan["workdir"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    except BaseException as error:
        os._exit(broken(error))
    execute(plan["command"], plan["environment"])


def execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Turn into a command, found on the PATH that it will see."""
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  (a shell is what the user may ask for)
    except OSError as error:
        say(f"exec {command[0]} failed: {error.strerror}")
        os._exit(NOT_FOUND if error.errno in {errno.ENOENT, errno.ENOTDIR} else NOT_EXECUTABLE)
    except ValueError as error:  # a null character in an argument
        os._exit(broken(error))


def broken(error: BaseException) -> int:
    """Tell why, and the exit code for it."""
    say(f"cannot make the container: {error}")
    return BROKEN


def say(text: str) -> None:
    """Into the container's output."""
    os.write(2, f"[smexec] {text}\n".encode(errors="replace"))


# -- the container's world -----------------------------------------------------------------------------------


def libc(name: str, *arguments: Any) -> None:
    """Call a function of the C library; its error becomes an OSError."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def die_with_parent() -> None:
    """SIGKILL when the parent ends (Linux). The lifeline does the same for the parent itself."""
    if sys.platform == "linux":
        libc("prctl", PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent has ended (Linux)."""
    if sys.platform == "linux":
        libc("prctl", PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def enter_namespaces(names: list[str]) -> None:
    """Leave the host's namespaces for new ones. "user" makes us root inside, with the rights to mount."""
    if not names:
        return
    user, group = os.getuid(), os.getgid()
    flags = 0
    for name in names:
        flags |= NAMESPACES[name]
    libc("unshare", flags)
    if "user" in names:
        write_file("/proc/self/setgroups", "deny")
        write_file("/proc/self/uid_map", f"0 {user} 1")
        write_file("/proc/self/gid_map", f"0 {group} 1")
    if "network" in names:
        bring_loopback_up()


def write_file(path: str, text: str) -> None:
    """In one go, as /proc wants it."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def mount_world(plan: Plan) -> None:
    """What the container sees otherwise than its machine."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    if "pid" in plan["namespaces"]:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if "ipc" in plan["namespaces"] and os.path.isdir("/dev/shm"):  # noqa: S108  (it is the container's own)
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)  # noqa: S108
    show(plan["opt_ml"], OPT_ML)
    for path in plan["read_only"]:
        mount(path, path, None, MS_BIND | MS_REC)
        mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    for path, source in plan["files"].items():
        if os.path.isfile(path):
            mount(source, path, None, MS_BIND)


def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    """As the system call of that name; its error tells both ends."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    try:
        libc("mount", *encoded, ctypes.c_ulong(flags), None)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {source or kind} on {target}") from None


def show(source: str, target: str) -> None:
    """Let the directory ``source`` be seen at ``target``, and leave no trace of it on the host.

    What lies at ``target`` beside it stays visible (a user's own ``/opt/ml/code``). Where ``target`` does not
    exist, its parent is covered by a directory in memory with all that the parent has, and ``target``.
    """
    if os.path.isdir(target):
        cover(target, lambda: mount(source, target, None, MS_BIND | MS_REC))
        return
    parent = os.path.dirname(target)
    cover(parent, lambda: mount("tmpfs", parent, "tmpfs", MS_NOSUID | MS_NODEV))
    os.mkdir(target)
    mount(source, target, None, MS_BIND | MS_REC)


def cover(directory: str, put: Callable[[], None]) -> None:
    """Mount something on a directory and bring back the entries of the directory that it lacks."""
    below = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    entries = os.listdir(directory)
    put()
    for name in entries:
        here, there = os.path.join(directory, name), f"/proc/self/fd/{below}/{name}"
        if os.path.lexists(here):
            continue
        if os.path.islink(there):
            os.symlink(os.readlink(there), here)
            continue
        if os.path.isdir(there):
            os.mkdir(here)
        else:
            os.close(os.open(here, os.O_CREAT | os.O_WRONLY))
        mount(there, here, None, MS_BIND | MS_REC)
    os.close(below)


def bring_loopback_up() -> None:
    """A new network namespace has 127.0.0.1, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(control, SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        struct.pack_into("h", request, 16, flags | IFF_UP)
        fcntl.ioctl(control, SIOCSIFFLAGS, request)


if __name__ == "__main__":
    sys.exit(main())
