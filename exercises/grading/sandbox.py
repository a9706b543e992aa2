"""The walls around a submission's process: bubblewrap, a filter of system calls, and limits.

Inside there is Python with its own library, NumPy, Matplotlib and what the task opens, read-only,
and nothing else that could be read; a small folder in memory to write to; no network, no other
process, no way to start one.  Bubblewrap is Linux only; elsewhere, and without it, only the limits
that child.py sets itself remain.
"""

import contextlib
import ctypes
import ctypes.util
import errno
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
DISK = 64 << 20  # bytes that a submission may write, in memory
OPEN = "numpy", "matplotlib"  # packages that every submission may import
PACKAGES = "/packages"  # where they lie inside


class NoSandbox(Exception):
    """What the sandbox needs is missing or cannot start, and why."""


@cache
def available():
    """Whether submissions run inside bubblewrap here; NoSandbox says why not, see `require`."""
    try:
        require()
    except NoSandbox:
        return False
    return True


def require():
    """Raise NoSandbox, with what to do, unless the sandbox starts."""
    if sys.platform != "linux":
        raise NoSandbox("the sandbox, bubblewrap, exists on Linux only")
    if not shutil.which("bwrap"):
        raise NoSandbox("bubblewrap is not installed; apt install bubblewrap, or your system's way")
    filtered, keep = _filtered()
    try:
        program = [*_walls(()), *filtered, _python(), "-S", "-c", ""]
        tried = subprocess.run(program, capture_output=True, text=True, pass_fds=keep)
    finally:
        close(keep)
    if tried.returncode:
        raise NoSandbox(f"bubblewrap is here but does not start: {tried.stderr.strip()}")


def command(opens, walls):
    """(the command that runs child.py, file descriptors it needs open).

    opens: a tuple of names of packages, beside those that are always open.  walls: whether to use
    bubblewrap.
    """
    if not walls:
        return [sys.executable, "-P", "-B", str(HERE / "child.py")], ()
    filtered, keep = _filtered()
    program = [*_walls(opens), "--ro-bind", str(HERE / "child.py"), "/child.py"]
    program += [*filtered, "--remount-ro", "/", _python(), "-P", "-B", "-s", "/child.py"]
    return program, keep


def _filtered():
    """(options of bubblewrap for the filter of system calls, the descriptors it needs open)."""
    fd = os.memfd_create("calls")
    os.write(fd, call_filter())
    os.lseek(fd, 0, os.SEEK_SET)
    return ["--seccomp", str(fd)], (fd,)


def close(descriptors):
    for fd in descriptors:
        os.close(fd)


def _python():
    """Python itself, not the link to it in a virtual environment."""
    return os.path.realpath(sys.executable)


@cache
def _walls(opens):
    """Bubblewrap with all that does not differ from one process to the next."""
    walls = "bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL".split()
    walls += "--uid 1000 --gid 1000 --hostname sandbox".split()
    walls += ["--size", str(DISK), "--tmpfs", "/tmp"]
    for path in _libraries():
        if path.is_symlink():
            walls += ["--symlink", os.readlink(path), str(path)]
        else:
            walls += ["--ro-bind", str(path), str(path)]
    for path in ("/etc/ld.so.cache", "/etc/localtime", "/nix/store"):
        walls += ["--ro-bind-try", path, path]
    walls += ["--ro-bind", _python(), _python()]
    for path in _hidden():
        walls += ["--tmpfs", str(path), "--remount-ro", str(path)]
    for path in packages(opens):
        walls += ["--ro-bind", str(path), f"{PACKAGES}/{path.name}"]
    walls += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    walls += ["--size", str(DISK), "--tmpfs", "/dev/shm"]
    for font_list in _font_lists():  # Matplotlib takes seconds to make it anew
        walls += ["--ro-bind", str(font_list), f"/tmp/matplotlib/{font_list.name}"]
    walls += ["--chdir", "/tmp", "--clearenv"]
    for name, value in (environment("/tmp") | {"PYTHONPATH": PACKAGES}).items():
        walls += ["--setenv", name, value]
    return walls


def _libraries():
    """Folders and links that Python needs to start: the system's libraries and its own.

    Of a folder that keeps the libraries of each processor apart, as on Debian, only these.
    """
    found = []
    for name in ("lib", "lib32", "lib64", "libx32"):
        for path in (Path("/usr", name), Path("/", name)):
            apart = [] if path.is_symlink() else [p for p in path.glob("*-linux-*") if p.is_dir()]
            found += apart or [path]
    own = {sys.base_prefix, sys.base_exec_prefix} - {"/usr"}
    found += [Path(prefix, name) for prefix in sorted(own) for name in ("lib", "lib64")]
    found.append(Path(os.__file__).parent)  # Python's own library
    found = list(dict.fromkeys(path for path in found if path.exists()))
    return [p for p in found if not any(p != q and p.is_relative_to(q) for q in found)]


def _hidden():
    """Folders of packages inside `_libraries`: of this Python, of others, of programs'."""
    found = set()
    for library in _libraries():
        if library.is_symlink():
            continue
        for place, folders, _ in os.walk(library):
            packages = [name for name in folders if name in ("site-packages", "dist-packages")]
            found.update(os.path.join(place, name) for name in packages)
            folders[:] = [name for name in folders if name not in packages]
    return sorted(path for path in found if not os.path.islink(path))


# ---- packages that are open


@cache
def packages(opens):
    """Paths of the packages that may be imported, with what they need themselves."""
    waiting = [name for word in (*OPEN, *opens) for name in _distributions(word)]
    seen, found = set(), {}
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            one = metadata.distribution(name)
            waiting += [
                re.match(r"[\w.-]+", need)[0]
                for need in one.requires or []
                if "extra ==" not in need
            ]
            found.update((path, None) for path in _tops(one))
    return list(found)


def _distributions(package):
    """Names of the distributions that a package comes from."""
    try:
        return [metadata.distribution(package).name]
    except metadata.PackageNotFoundError:  # sklearn comes from scikit-learn
        return metadata.packages_distributions().get(package, [])


def _tops(distribution):
    """The files and folders of a distribution that lie directly in the folder of packages."""
    names = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    for word in (distribution.read_text("top_level.txt") or "").split():
        names.add(word)
    found = [Path(distribution.locate_file(name)) for name in sorted(names)]
    return [path for path in found if path.exists()]


@cache
def closed(opens):
    """Names of packages that are here and are not open; inside the walls they are not there."""
    names = {path.name.partition(".")[0] for path in packages(opens)}
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    here = {entry.partition(".")[0] for folder in folders for entry in os.listdir(folder)}
    here = {name for name in here if name.isidentifier()}
    return sorted((here | {"minidl", "grading"}) - names)


def _font_lists():
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "matplotlib")
    home = Path(os.environ.get("MPLCONFIGDIR") or home)
    return sorted(home.glob("fontlist-*.json"))


def environment(home):
    """The environment variables of a submission's process, whose own folder is `home`."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    kept = {k: v for k, v in os.environ.items() if k in ("SYSTEMROOT", "OPENBLAS_CORETYPE")}
    mine = {
        "PATH": os.defpath, "HOME": home, "USERPROFILE": home, "TEMP": home,
        "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8:surrogateescape", "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(Path(home, "matplotlib")), "PYTHONHASHSEED": "0",
        "JOBLIB_MULTIPROCESSING": "0",  # n_jobs=2 works, one after the other
    }  # fmt: skip
    return kept | mine | threads


def seconds_used(pid):
    """Processor time of a process and of all below it, in seconds; 0 where /proc does not tell."""
    total, waiting = 0, [str(pid)]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):  # it ended just now, or there is no /proc
            fields = _read(f"/proc/{one}/stat").rpartition(b")")[2].split()
            total += sum(map(int, fields[11:15]))  # its own, and of children that have ended
            waiting += _read(f"/proc/{one}/task/{one}/children").decode().split()
    return total / os.sysconf("SC_CLK_TCK") if total else 0.0


def _read(path):
    """The bytes of a small file; not through a Path, for it is asked hundreds of times."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


# ---- the filter of system calls

# By name; libseccomp knows their numbers on every processor.  Refused are: new processes; other
# namespaces and file systems; a look into other processes; memory that the limit of address space
# does not count, because it belongs to a file, a queue or a pipe; and the kernel's larger
# interfaces.
REFUSED = {
    "processes": "fork vfork pidfd_open pidfd_getfd pidfd_send_signal",
    "namespaces": "unshare setns chroot pivot_root",
    "file systems": "mount umount umount2 open_tree move_mount fsopen fsconfig fsmount fspick "
    "mount_setattr open_by_handle_at name_to_handle_at swapon swapoff quotactl fanotify_init",
    "other processes": "ptrace process_vm_readv process_vm_writev kcmp process_madvise",
    "memory": "memfd_create memfd_secret shmget shmat shmctl msgget msgsnd msgrcv semget semop "
    "mq_open vmsplice splice tee sendfile userfaultfd remap_file_pages",
    "kernel": "bpf perf_event_open io_uring_setup io_uring_enter io_uring_register add_key "
    "request_key keyctl kexec_load kexec_file_load init_module finit_module delete_module reboot "
    "acct syslog settimeofday clock_settime iopl ioperm personality lookup_dcookie",
}
ALLOW, ERROR = 0x7FFF0000, 0x00050000
NOT_EQUAL, MASKED_EQUAL = 1, 7
THREAD = 0x00010000  # of clone(2): no new process
AF_UNIX = 1


class _Compare(ctypes.Structure):
    """libseccomp's comparison of an argument: struct scmp_arg_cmp."""

    _fields_ = [
        ("argument", ctypes.c_uint), ("kind", ctypes.c_int),
        ("first", ctypes.c_uint64), ("second", ctypes.c_uint64),
    ]  # fmt: skip


@cache
def _library():
    name = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
    try:
        library = ctypes.CDLL(name, use_errno=True)
    except OSError:
        raise NoSandbox(
            "libseccomp is missing; apt install libseccomp2, or your system's way"
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    return library


@cache
def call_filter():
    """The filter, as bytes that the kernel understands.

    A new process is refused and a thread is not, so there is no fork bomb to limit; clone3 "does
    not exist", so that the C library falls back to clone, whose flags can be looked at.  Sockets
    are those of pairs only.  Raises NoSandbox without libseccomp.
    """
    library = _library()
    rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))

    def refuse(name, number, *compare):
        call = library.seccomp_syscall_resolve_name(name.encode())
        if call < 0:
            return  # this processor, or this libseccomp, has no such call
        compare = (_Compare * len(compare))(*compare)
        action = ctypes.c_uint32(ERROR | number)
        if library.seccomp_rule_add_array(rules, action, call, len(compare), compare):
            raise NoSandbox(f"libseccomp makes no rule for {name}")

    for names in REFUSED.values():
        for name in names.split():
            refuse(name, errno.EPERM)
    refuse("clone", errno.EPERM, _Compare(0, MASKED_EQUAL, THREAD, 0))
    refuse("clone3", errno.ENOSYS)
    refuse("socket", errno.EAFNOSUPPORT, _Compare(0, NOT_EQUAL, AF_UNIX, 0))
    fd = os.memfd_create("calls")
    try:
        if library.seccomp_export_bpf(rules, fd):
            raise NoSandbox("libseccomp writes no filter")
        return os.pread(fd, 1 << 20, 0)
    finally:
        library.seccomp_release(rules)
        os.close(fd)
