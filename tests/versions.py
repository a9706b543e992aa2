"""The fast part of the tests on each Python and NumPy that the package takes: a table, for
docs/release.md.

    python tests/versions.py [3.12 ...]    (make versions)

A Python is looked for on the path, among pyenv's, and, where uv is installed, among those that uv
has or can fetch; what is nowhere is said, and is no failure.  Each gets an environment of its own
in a temporary folder, and the package as README installs it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# (Python, NumPy): each with the newest NumPy, and the oldest Python with the oldest NumPy too.
PAIRS = [("3.11", "==2.0.*"), ("3.11", ""), ("3.12", ""), ("3.13", ""), ("3.14", "")]
ASK = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
HAS = "import platform, numpy; print(platform.python_version(), numpy.__version__)"


def output(*command):
    """What a command prints, or "" if it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def candidates(version):
    """Paths at which a Python of a version, as "3.12", may lie, the likeliest first."""
    yield sys.executable
    yield shutil.which(f"python{version}")
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for folder in sorted(kept.glob(f"{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")
    if os.name == "nt":
        yield output("py", f"-{version}", "-c", "import sys; print(sys.executable)")
    if shutil.which("uv"):
        yield output("uv", "python", "find", version)
        output("uv", "python", "install", version)
        yield output("uv", "python", "find", version)


def find(version):
    """A Python of this version that runs and can make environments, or None."""
    return next((p for p in candidates(version) if p and output(p, "-c", ASK) == version), None)


def environment(python, numpy, place):
    """The Python of a new environment in `place` that holds what learners install; None: failed."""
    subprocess.run([python, "-m", "venv", place], check=True)
    mine = str(Path(place, "Scripts" if os.name == "nt" else "bin", "python"))
    what = ["-e", f"{ROOT}[learn]", *([f"numpy{numpy}"] if numpy else [])]
    if shutil.which("uv"):
        command = ["uv", "pip", "install", "--quiet", "--python", mine, *what]
    else:
        command = [mine, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    return mine if subprocess.run(command).returncode == 0 else None


def tested(python):
    """(whether the fast tests passed, the last line of pytest) of an environment."""
    command = [python, "-m", "pytest", "-n", "logical", "--maxprocesses", "8", "--dist",
               "worksteal", "-m", "not slow", "--device", "cpu"]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=kept, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line if re.search(r"\d (passed|failed|error)", line) else last
    return process.wait() == 0, last.strip("= \n")


def row(version, numpy):
    """(whether nothing failed, a line of the table)"""
    python = find(version)
    if python is None:
        return True, f"| {version} | newest | could not be had here | |"
    print(f"\n+ Python {version} ({python}), NumPy {numpy or 'newest'}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minidl-", ignore_cleanup_errors=True) as place:
        mine = environment(python, numpy, place)
        if mine is None:
            return False, f"| {version} | {numpy or 'newest'} | could not be installed | |"
        passed, said = tested(mine)
        exactly, with_numpy = output(mine, "-c", HAS).split()
    minutes = (time.monotonic() - began) / 60
    said = re.sub(r" in [\d.]+s.*", "", said)
    return passed, f"| {exactly} | {with_numpy} | {said} | {minutes:.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", help="of Python; default all")
    chosen = parser.parse_args().versions
    wanted = [pair for pair in PAIRS if not chosen or pair[0] in chosen]
    rows = [row(*pair) for pair in wanted]
    print(f"\n{time.strftime('%Y-%m-%d')}\n\n| Python | NumPy | fast tests | minutes |")
    print("|---|---|---|--:|", *(line for _, line in rows), sep="\n")
    sys.exit(not all(passed for passed, _ in rows))


if __name__ == "__main__":
    main()
