"""How a program is kept from everything else: bubblewrap, and what of Python it may see.

Covers the command line, the interpreter's files, the user that bubblewrap runs as, and the refusal
where isolation is not available. A program gets namespaces of its own (user, process, network,
mount, IPC, host name), an empty root with Python's files read-only, a private /tmp, /dev/null, no
/proc, no capability and no way to new namespaces. Started as root, bubblewrap itself runs as
another user: as root it can remount and write the host whatever is dropped inside.
Does not cover limits (limits.py) and what runs inside (harness.py).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import itertools
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from prerl_eval.sandbox.limits import DEFAULTS, Limits

OLDEST = (0, 8)
"""bubblewrap's first version with --disable-userns and --size."""

FIRST_UID, UIDS = 62_000, 3_000
"""Unprivileged users that programs run as where prerl runs as root, one after the other."""

UNNEEDED = ("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3")
"""Folders of a Python library that no program here needs; left out of a copy."""

PACKAGES = "/packages"
"""Where numpy lies inside: the one library beside Python's own, as in the authors' harness of HumanEval."""

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    # Sets of strings are then ordered alike in every run.
    "PYTHONHASHSEED": "0",
    # One thread: each counts as a process, and reserves memory.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

COPIES = "prerl-python-"
"""Beginning of the name of a folder of copies, in the folder for temporary files."""

_uids = itertools.count(os.getpid())


class Unavailable(Exception):
    """Programs cannot be isolated here; the message says why, in a few words."""


@dataclass(frozen=True)
class Isolation:
    """A way to start the harness.

    command: everything before the harness's source. name: for records, "bubblewrap 0.8.0" or
    "none (why)". setpriv: its path where the command runs as another user, a new one each time, else
    "". packages: the folder with numpy as the program sees it, "" without one.
    """

    command: tuple[str, ...]
    name: str
    isolated: bool
    setpriv: str
    packages: str

    def argv(self, source: str) -> list[str]:
        """The command line that runs `source`."""
        user: list[str] = []
        if self.setpriv:
            uid = str(FIRST_UID + next(_uids) % UIDS)
            user = [self.setpriv, "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps=-all"]
        return [*user, *self.command, source]


@lru_cache(maxsize=1)
def bubblewrap(limits: Limits = DEFAULTS) -> Isolation:
    """Isolation by bubblewrap. Raises Unavailable where it is not installed or too old."""
    found = shutil.which("bwrap")
    if found is None:
        raise Unavailable("bwrap is not installed")
    version = _version(found)
    as_root = os.geteuid() == 0
    setpriv = shutil.which("setpriv") or ""
    if as_root and not setpriv:
        raise Unavailable("setpriv of util-linux, which root needs, is not installed")
    python = _python()
    arguments = [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--clearenv"),
        *("--die-with-parent", "--as-pid-1"),
        *itertools.chain.from_iterable(("--setenv", *pair) for pair in ENVIRONMENT.items()),
        *_mounts(python, as_root),
        *("--size", str(limits.scratch), "--tmpfs", "/tmp", "--dev-bind", "/dev/null", "/dev/null"),
        *("--remount-ro", "/", "--chdir", "/tmp", "--"),
    ]
    command = (found, *arguments, str(python), "-S", "-B", "-c")
    packages = PACKAGES if _numpy() else ""
    return Isolation(command, f"bubblewrap {version}", True, setpriv if as_root else "", packages)


def unisolated(why: str) -> Isolation:
    """Limits alone: the program runs with this process's rights, in a folder of its own."""
    packages = str(_numpy()[0].parent) if _numpy() else ""
    return Isolation((str(_python()), "-S", "-B", "-c"), f"none ({why})", False, "", packages)


def _version(bwrap: str) -> str:
    try:
        said = subprocess.run([bwrap, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{bwrap} does not start: {error}") from error
    numbers = re.search(r"(\d+)\.(\d+)(\.\d+)*", said)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise Unavailable(f"{said.strip() or bwrap} is older than {'.'.join(map(str, OLDEST))}")
    return numbers[0]


def _python() -> Path:
    """The interpreter itself, not a virtual environment's name for it."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()


@lru_cache(maxsize=1)
def _numpy() -> list[Path]:
    """numpy's folder, then those of its shared libraries; [] where it is not installed."""
    spec = importlib.util.find_spec("numpy")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    libraries = package.with_name("numpy.libs")
    return [package, *([libraries] if libraries.is_dir() else [])]


# --- what of the file system is visible ----------------------------------------------------------


def _mounts(python: Path, as_root: bool) -> list[str]:
    """bubblewrap's arguments: system libraries, the interpreter and its library, numpy; all read-only."""
    arguments: list[str] = []
    for folder in map(Path, ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")):
        if folder.is_symlink():
            arguments += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    if Path("/etc/ld.so.cache").exists():
        arguments += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    wanted = {str(python): python}
    if Path(sys.base_prefix) != Path("/usr"):
        folders = [Path(sys.base_prefix) / name for name in ("lib", "lib64")]
        wanted |= {str(folder): folder for folder in folders if folder.is_dir() and not folder.is_symlink()}
    wanted |= {f"{PACKAGES}/{place.name}": place for place in _numpy()}
    for inside, place in wanted.items():
        arguments += ["--ro-bind", str(_reachable(place, as_root)), inside]
    if _may_read(_library(), as_root):
        # What is installed beside Python's own library stays out; a copy has left it out already.
        installed = [_library() / name for name in ("site-packages", "dist-packages")]
        arguments += [word for place in installed if place.is_dir() for word in ("--tmpfs", str(place))]
    return arguments


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _reachable(place: Path, as_root: bool) -> Path:
    """The place, or where the user of the sandbox may not read it (under /root) a copy that it may."""
    if _may_read(place, as_root):
        return place
    copy = _copies() / place.relative_to(place.anchor)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if place.is_file():
        _take(str(place), str(copy))
    elif not copy.exists():
        shutil.copytree(place, copy, symlinks=True, ignore=_left_out, copy_function=_take)
        for folder, _, _ in os.walk(copy):
            os.chmod(folder, 0o755)
    return copy


def _may_read(place: Path, as_root: bool) -> bool:
    """Whether the user that bubblewrap runs as may: this one, or where prerl runs as root any other."""
    if not as_root:
        return True
    above = all(folder.stat().st_mode & stat.S_IXOTH for folder in place.parents)
    return above and bool(place.stat().st_mode & stat.S_IROTH)


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy does without: of a prefix it takes the shared libraries and Python's own library."""
    if Path(folder).parent == Path(sys.base_prefix):
        return {name for name in names if ".so" not in name and name != _library().name}
    return {name for name in names if name in UNNEEDED or name.startswith("config-")}


def _take(source: str, target: str) -> str:
    """A hard link where that works and all may read the file, else a copy."""
    if not os.path.exists(target):
        mode = os.stat(source).st_mode
        try:
            if not mode & stat.S_IROTH:
                raise PermissionError
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
            os.chmod(target, 0o755 if mode & stat.S_IXUSR else 0o644)
    return target


@lru_cache(maxsize=1)
def _copies() -> Path:
    """A folder for copies that lives as long as this process; those of processes that were killed go."""
    for left in Path(tempfile.gettempdir()).glob(f"{COPIES}*"):
        if left.lstat().st_uid != os.geteuid():
            continue
        with contextlib.suppress(OSError), open(left / "lock", "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=COPIES))
    lock = open(folder / "lock", "wb")  # noqa: SIM115 - held until this process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder.chmod(0o755)
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked process must not take it from its parent
            lock.close()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
