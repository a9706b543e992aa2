"""The walls around a submission's process: bubblewrap, a filter of system calls, and limits.

Inside there is Python with its packages, read-only, less those that the task closes; a small
folder in memory to write to; no network, no other process, no way to start one, and none of this
repository.  Bubblewrap is Linux only; elsewhere, and without it, only the limits remain.
"""

import contextlib
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
import sysconfig
from functools import cache, lru_cache
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DISK = 64 << 20  # bytes that a submission may write, in memory


class NoSandbox(Exception):
    """Bubblewrap is missing or cannot start, and why."""


@cache
def available():
    """Whether submissions run inside bubblewrap here; NoSandbox says why not, see `require`."""
    try:
        require()
    except NoSandbox:
        return False
    return True


def require():
    """Raise NoSandbox, with what to do, unless bubblewrap starts."""
    if sys.platform != "linux":
        raise NoSandbox("the sandbox, bubblewrap, exists on Linux only")
    if not shutil.which("bwrap"):
        raise NoSandbox("bubblewrap is not installed; apt install bubblewrap, or your system's way")
    tried = subprocess.run([*_walls(()), "/bin/true"], capture_output=True, text=True)
    if tried.returncode:
        raise NoSandbox(f"bubblewrap is here but does not start: {tried.stderr.strip()}")


def command(closed, walls):
    """(the command that runs child.py, file descriptors it needs open); see `limits`.

    closed: names of packages that must not be there.  walls: whether to use bubblewrap.
    """
    if not walls:
        return [sys.executable, "-P", "-B", str(HERE / "child.py")], ()
    program = [*_walls(tuple(closed)), "--ro-bind", str(HERE / "child.py"), "/child.py"]
    keep = ()
    if rules := call_filter():
        fd = os.memfd_create("calls")
        os.write(fd, rules)
        os.lseek(fd, 0, os.SEEK_SET)
        program += ["--seccomp", str(fd)]
        keep = (fd,)
    # `../.venv/bin/python` was found from here; inside, that folder is not there.
    python = os.path.abspath(sys.executable)
    return [*program, "--remount-ro", "/", python, "-P", "-B", "/child.py"], keep


@lru_cache
def _walls(closed):
    """Bubblewrap with all that does not differ from one process to the next."""
    walls = "bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL".split()
    walls += "--uid 1000 --gid 1000 --hostname sandbox --ro-bind /usr /usr".split()
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            walls += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            walls += ["--ro-bind", str(path), str(path)]
    for path in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/nix/store"):
        walls += ["--ro-bind-try", path, path]
    # The order matters: /tmp comes before the repository, which may be inside, and the repository
    # is covered before the environment inside it is laid open.
    walls += ["--size", str(DISK), "--tmpfs", "/tmp"]
    hidden = [ROOT, *(folder for name in ("minidl", *closed) if (folder := _folder(name)))]
    opened = [sys.base_prefix, sys.prefix, *map(sysconfig.get_path, ("purelib", "platlib"))]
    opened = {os.path.abspath(path) for path in opened}
    opened = [path for path in sorted(opened, key=len) if Path(path).is_dir()]
    outer = [path for path in opened if ROOT.is_relative_to(path)]
    for path in outer:
        walls += ["--ro-bind", path, path]
    walls += ["--tmpfs", str(ROOT)]
    for path in opened:
        if path not in outer:
            walls += ["--ro-bind", path, path]
    for path in hidden[1:]:
        if any(Path(path).is_relative_to(o) for o in [*opened, "/usr"]):
            walls += ["--tmpfs", path, "--remount-ro", path]
    walls += ["--remount-ro", str(ROOT), "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    walls += ["--size", str(DISK), "--tmpfs", "/dev/shm"]
    for font_list in _font_lists():  # Matplotlib takes seconds to make it anew
        walls += ["--ro-bind", str(font_list), f"/tmp/matplotlib/{font_list.name}"]
    walls += ["--chdir", "/tmp", "--clearenv"]
    for name, value in environment("/tmp").items():
        walls += ["--setenv", name, value]
    return walls


def _folder(name):
    """The folder of an installed package, or None."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None


def _font_lists():
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "matplotlib")
    home = Path(os.environ.get("MPLCONFIGDIR") or home)
    return sorted(home.glob("fontlist-*.json"))


def environment(home):
    """The environment variables of a submission's process, whose own folder is `home`."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    kept = {k: v for k, v in os.environ.items() if k in ("SYSTEMROOT", "OPENBLAS_CORETYPE")}
    mine = {
        "PATH": os.defpath, "HOME": home, "LANG": "C.UTF-8", "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(Path(home, "matplotlib")), "PYTHONHASHSEED": "0",
    }  # fmt: skip
    return kept | mine | threads


def limits(memory, seconds):
    """A function for the new process to call before it begins; None where there is none.

    memory: bytes of address space.  seconds: of processor time.
    """
    if resource is None:
        return None

    def limit():
        for kind, most in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_FSIZE, DISK),
            (resource.RLIMIT_CORE, 0),
        ):
            if sys.platform == "linux" or kind != resource.RLIMIT_AS:  # macOS refuses it
                resource.setrlimit(kind, (most, most))

    return limit


def seconds_used(pid):
    """Processor time of a process and of all below it, in seconds; 0 where /proc does not tell."""
    total, waiting = 0, [str(pid)]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):  # it ended just now, or there is no /proc
            fields = Path("/proc", one, "stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))  # its own, and of children that have ended
            waiting += Path("/proc", one, "task", one, "children").read_text().split()
    return total / os.sysconf("SC_CLK_TCK") if total else 0.0


# ---- the filter of system calls

# Numbers of the calls, from Linux's tables (arch/x86/entry/syscalls, asm-generic/unistd.h).
# Refused: new processes, other namespaces, tracing, and the kernel's larger interfaces.
ARCHITECTURES = {
    "x86_64": dict(
        audit=0xC000003E, clone=56, clone3=435,
        refused=(57, 58, 101, 165, 166, 175, 246, 248, 249, 250, 272, 298, 308, 310, 311, 313,
                 320, 321, 323, 425, 426, 427, 428, 429, 430),
    ),
    "aarch64": dict(
        audit=0xC00000B7, clone=220, clone3=435,
        refused=(97, 104, 105, 117, 217, 218, 219, 241, 268, 270, 271, 273, 280, 282, 294, 39, 40,
                 425, 426, 427, 428, 429, 430),
    ),
}  # fmt: skip


def call_filter(machine=None):
    """A program of the kernel's packet filter, as bytes, or b"" for an unknown processor.

    It refuses fork and vfork, and clone unless it makes a thread, so there is no fork bomb to
    limit; clone3 "does not exist", so that the C library falls back to clone.  seccomp(2).
    """
    known = ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return b""
    load, equal, greater, bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, absent = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
    code = [
        (load, 0, 0, 4), (equal, 1, 0, known["audit"]), (answer, 0, 0, refuse),
        (load, 0, 0, 0),
        (greater, 0, 1, 0x40000000), (answer, 0, 0, refuse),  # the other numbering of x86
        (equal, 0, 1, known["clone3"]), (answer, 0, 0, absent),
        (equal, 0, 4, known["clone"]),
        (load, 0, 0, 16), (bits, 1, 0, 0x10000), (answer, 0, 0, refuse), (answer, 0, 0, allow),
    ]  # fmt: skip
    for number in known["refused"]:
        code += [(equal, 0, 1, number), (answer, 0, 0, refuse)]
    code.append((answer, 0, 0, allow))
    return b"".join(struct.pack("=HBBI", *step) for step in code)
