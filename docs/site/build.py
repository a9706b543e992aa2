"""Build the site: lay out its sources, run Sphinx on them, check what came out.

    python docs/site/build.py [--jobs N] [--lite] [FOLDER]

FOLDER is build/site, if not said.  The sources are laid out beside it, in build/site-sources, with
the addresses that they have in this repository, so that links between them stay as they are; only
links to what is not on the site are written anew.

MINIDL_REPOSITORY: the address of a public repository, without a slash at its end.  If it is set,
files that are not pages lead there; if not, they lead to pages that show them.

--lite: with JupyterLite, in which the notebooks run (docs/lite/build.py).
"""

import argparse
import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import check  # noqa: E402
import nbformat  # noqa: E402
import reference  # noqa: E402

from course import start  # noqa: E402

# The pages of docs/, by what one wants of them.
HOW_TOS = {
    "Use it": ["project", "examples", "online", "coming", "compile", "state_dicts", "ship"],
    "Teach with it": ["grading", "lessons"],
    "More than one core": ["gpu", "machines"],
    "How good, how fast": ["benchmarks", "growth", "where_time_goes", "audit"],
    "Why it is as it is": ["promises", "decisions", "release"],
}
TOP = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
DETAILS = re.compile(r"(<details>\s*<summary>.*?</summary>)[ \t]*\n?")


class Layout:
    """The sources of the site, as they are written."""

    def __init__(self, folder, repository=None, lite=False):
        self.folder, self.repository, self.lite = folder, repository, lite
        self.written = set()  # sources
        self.shown = {}  # files of the repository that need a page which shows them

    def write(self, name, text):
        """Write a source; one that is the same stays, so that Sphinx need not read it again."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        self.written.add(path)

    def copy(self, name, to=None):
        path = self.folder / (to or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != (ROOT / name).read_bytes():
            shutil.copyfile(ROOT / name, path)
        self.written.add(path)

    def tidy(self):
        """Remove what an earlier layout left."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in self.written:
                path.unlink()

    def linked(self, text, name):
        """`text` of the file `name` with links that lead somewhere on the site."""
        base = (ROOT / name).parent

        def lead(match):
            target, anchor = match[1], match[2] or ""
            path = Path(os.path.normpath(base / target))
            if not path.is_relative_to(ROOT) or not path.exists():
                raise SystemExit(f"{name}: there is no {target}")
            return self.address(path.relative_to(ROOT).as_posix(), name, target) + anchor

        return LINK.sub(lead, text)

    def address(self, path, page, as_is):
        """Where a link in the source `page` to `path` of the repository leads."""
        up = "../" * page.count("/")
        on_site = {"course": "course/index.md", "exercises": "exercises/index.md",
                   "docs": "docs/index.md", "minidl": "reference/index.md"}  # fmt: skip
        if path in on_site:
            return up + on_site[path]
        if is_page(path):
            return as_is
        if path.endswith(".png"):
            self.copy(path)
            return as_is
        if self.repository:
            return f"{self.repository}/blob/main/{path}"
        self.shown[path] = None
        return f"{up}files/{path}.md"


def is_page(path):
    """Whether a file of the repository is a page of the site, under its own address."""
    folder, _, name = path.rpartition("/")
    if folder in ("course", "exercises"):
        return name.endswith(".ipynb") or name == "letters.md"
    return path in TOP or (folder == "docs" and name.endswith(".md"))


# ---- lessons and exercises


def lesson_names():
    return [path.stem for path in sorted((ROOT / "course").glob("*.ipynb"))]


def titles():
    """Lesson -> "07 · How do whole arrays remember?"."""
    return {
        name: f"{name[:2]} · {start.header(ROOT / 'course' / f'{name}.ipynb')[0]}"
        for name in lesson_names()
    }


def notebook(layout, name):
    """Lay out a notebook of course/ or exercises/."""
    nb = copy.deepcopy(nbformat.read(ROOT / name, as_version=4))
    layout.copy(name, f"notebooks/{name}")
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = opened(layout.linked(cell.source, name))
        else:
            describe(cell)
    nb.cells.insert(1, nbformat.v4.new_markdown_cell(beside(layout, name), id="beside"))
    layout.write(name, nbformat.writes(nb) + "\n")


def opened(text):
    """Blank lines around what is folded, so that its markdown is read."""
    text = DETAILS.sub(r"\1\n\n", text)
    return re.sub(r"\s*</details>", "\n\n</details>", text)


def describe(cell):
    """Give a cell's figure the alternative text that is stored with it."""
    for output in cell.outputs:
        words = output.get("metadata", {}).get("image/png", {}).get("alt")
        if words:
            cell.metadata["mystnb"] = {"image": {"alt": words}}


def beside(layout, name):
    """The links that stand below a notebook's title."""
    folder, file = name.split("/")
    links = []
    if folder == "exercises":
        links.append(f"[Its lesson](../course/{file})")
    elif (ROOT / "exercises" / file).exists():
        links.append(f"[Its exercises](../exercises/{file})")
    links.append(f"{{download}}`This notebook <../notebooks/{name}>`")
    if layout.lite:
        links.append(f'<a href="../lite/lab/index.html?path={name}">Run it in the browser</a>')
    host, _, project = (layout.repository or "").partition("https://github.com/")
    if project and not host:
        colab = f"https://colab.research.google.com/github/{project}/blob/main/{name}"
        binder = f"https://mybinder.org/v2/gh/{project}/main?urlpath=lab/tree/{name}"
        links += [f"[Colab]({colab})", f"[Binder]({binder})"]
    return " · ".join(links)


def lessons_table():
    """The table of all lessons, as markdown for a page at the top."""
    rows = ["| # | question | minutes | exercises |", "|--:|---|--:|--:|"]
    for name in lesson_names():
        question, minutes, more = start.header(ROOT / "course" / f"{name}.ipynb")
        has = (ROOT / "exercises" / f"{name}.ipynb").exists()
        exercises = f"[{more} minutes](exercises/{name}.ipynb)" if has else ""
        rows.append(f"| {name[:2]} | [{question}](course/{name}.ipynb) | {minutes} | {exercises} |")
    return "\n".join(rows)


# ---- pages of lists


def toctree(names):
    return "\n".join(["```{toctree}", ":maxdepth: 1", *names, "```", ""])


def lay_out(layout):
    """Write all sources."""
    named = titles()
    start_page = (HERE / "index.md").read_text(encoding="utf-8")
    commands = re.search(r"```sh\n.*?```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[0]
    start_page = start_page.replace("{commands}", commands).replace("{lessons}", lessons_table())
    layout.write("index.md", start_page)

    for name in named:
        notebook(layout, f"course/{name}.ipynb")
    layout.write("course/index.md", "# Lessons\n\n" + toctree([*named, "letters"]))
    exercises = [name for name in named if (ROOT / "exercises" / f"{name}.ipynb").exists()]
    for name in exercises:
        notebook(layout, f"exercises/{name}.ipynb")
    layout.write("exercises/index.md", "# Exercises\n\n" + toctree(exercises))

    pages = [*TOP, "course/letters.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
    for name in pages:
        layout.write(name, layout.linked((ROOT / name).read_text(encoding="utf-8"), name))
    parts = ["# How-tos\n"]
    there = {path.stem for path in (ROOT / "docs").glob("*.md")}
    others = sorted(there.difference(*HOW_TOS.values()))
    for title, names in {**HOW_TOS, "More": others}.items():
        if listed := [name for name in names if name in there]:
            parts += [f"## {title}\n", toctree(listed)]
    parts += ["## The project\n", toctree(["../CONTRIBUTING", "../CHANGELOG"])]
    layout.write("docs/index.md", "\n".join(parts))

    homes = reference.lessons()
    for room in reference.PAGES:
        layout.write(f"reference/{room}.md", reference.page(room, named, homes))
    rows = "\n".join(f"- [minidl.{r}]({r}.md): {w}" for r, w in reference.PAGES.items())
    rows = rows.replace("[minidl.minidl]", "[minidl]")
    tree = toctree(reference.PAGES).replace(":maxdepth: 1", ":hidden:")
    layout.write("reference/index.md", f"# Reference\n\n{rows}\n\n{tree}")

    for path in layout.shown:
        layout.write(f"files/{path}.md", file_page(path))
    layout.tidy()


LANGUAGES = {".py": "python", ".json": "json"}


def file_page(path):
    """A page that shows a file of the repository, or lists a folder's."""
    head = f"---\norphan: true\n---\n\n# {path}\n\n"
    if (ROOT / path).is_dir():
        files = sorted(p.name for p in (ROOT / path).iterdir() if p.name[0] not in "._")
        return head + "\n".join(f"- `{name}`" for name in files) + "\n"
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"{head}``````{{code-block}} {language}\n{text}\n``````\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--jobs", default="auto")
    parser.add_argument("--lite", action="store_true", help="with JupyterLite in its folder lite")
    options = parser.parse_args()
    folder = options.folder.resolve()
    sources, trees = (folder.with_name(folder.name + end) for end in ("-sources", "-trees"))
    layout = Layout(sources, os.environ.get("MINIDL_REPOSITORY"), options.lite)
    lay_out(layout)

    from sphinx.cmd.build import main as sphinx

    words = ["-q", "-W", "--keep-going", "-j", options.jobs, "-c", HERE, "-d", trees]
    if failed := sphinx([*map(str, words), str(layout.folder), str(folder)]):
        return failed
    if options.lite:
        lite = [sys.executable, str(ROOT / "docs" / "lite" / "build.py"), str(folder / "lite")]
        subprocess.run(lite, check=True)
    found = check.faults(folder)
    print(*found, sep="\n", end="\n" * bool(found))
    if not found:
        print(f"The site is in {folder}: open {folder / 'index.html'}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
