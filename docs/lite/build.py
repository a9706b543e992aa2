"""Build JupyterLite: lessons and exercises that run in a browser, with nothing installed.

    python docs/lite/build.py [FOLDER]

FOLDER is build/lite, if not said.  Needs pip install -e '.[lite]'.  The folder holds JupyterLite
and a wheel of minidl; Python itself and NumPy's kind of packages are fetched by the reader's
browser, from where Pyodide publishes them.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent.parent

# What the lessons import besides minidl; Pyodide, or PyPI as pure Python, has each.
PACKAGES = """
    numpy matplotlib scikit-learn pandas ipywidgets tqdm pooch mlxtend names palmerpenguins
    nbformat
""".split()

FIRST = f"""\
# This notebook runs in your browser.  These lines fetch what it needs; they take a minute.
%pip install -q minidl {" ".join(PACKAGES)}
import sys

sys.path[:0] = ["..", "../exercises"]"""


def contents(folder):
    """Lay out what the reader finds: lessons, exercises, and the files that they import."""
    for path in sorted(ROOT.glob("course/*.ipynb")) + sorted(ROOT.glob("exercises/*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        nb.cells.insert(0, nbformat.v4.new_code_cell(FIRST, id="first"))
        made = folder / path.parent.name / path.name
        made.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, made)
    for part in "course/lesson.py", "course/live.py", "course/course.mplstyle", "course/letters.md":
        shutil.copy(ROOT / part, folder / part)
    for part in "course/data", "course/trained", "exercises/grading":
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, folder / part, ignore=skipped)


def build(folder):
    """Write JupyterLite into a folder, which it replaces."""
    folder = Path(folder).resolve()
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        contents(place / "contents")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", place, ROOT]
        subprocess.run(pip, check=True)
        wheels = [str(path) for path in place.glob("minidl-*.whl")]
        settings = {
            "LiteBuildConfig": {"contents": [str(place / "contents")], "output_dir": str(folder)},
            "PipliteAddon": {"piplite_urls": wheels},
        }
        (place / "jupyter_lite_config.json").write_text(json.dumps(settings), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        lite = [sys.executable, "-m", "jupyterlite_core", "build"]
        subprocess.run(lite, check=True, cwd=place, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    build(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "lite")
