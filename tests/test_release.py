"""What is given away: a wheel of minidl alone, a source archive that passes its own tests, and
one version in all that names one.
"""

import ast
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import pytest
import versions

import minidl

ROOT = Path(__file__).resolve().parent.parent
NO_SOURCE = "__pycache__", ".ipynb_checkpoints", ".progress.json", ".DS_Store"


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def files(folder):
    """Names, from the root on, of the files in `folder` that somebody wrote."""
    paths = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT).as_posix() for path in paths}
    return {name for name in names if not set(name.split("/")) & set(NO_SOURCE)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A function that gives the path of the archive that a builder of hatchling makes."""
    pytest.importorskip("hatchling", reason="waits for hatchling (pip install -e '.[test]')")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    @cache
    def build(kind, place="once"):
        folder = tmp_path_factory.getbasetemp() / f"built {place}"
        builder = {"wheel": WheelBuilder, "sdist": SdistBuilder}[kind](str(ROOT))
        (path,) = builder.build(directory=str(folder), versions=["standard"])
        return Path(path)

    return build


def inside(path):
    """Names of the files of an archive of source, without its one folder."""
    with tarfile.open(path) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    folders = {name.partition("/")[0] for name in names}
    assert folders == {f"minidl-{minidl.__version__}"}
    return {name.partition("/")[2] for name in names}


def test_the_wheel_holds_minidl_alone(built):
    path = built("wheel")
    assert path.name == f"minidl-{minidl.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"minidl-{minidl.__version__}.dist-info/METADATA").decode()
    about = {name.partition("/")[2] for name in names if ".dist-info/" in name}
    assert about == {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "licenses/LICENSE-course"}
    held = {name for name in names if ".dist-info/" not in name}
    assert held == files("minidl")
    assert {"minidl/py.typed", "minidl/web/index.html"} <= held
    assert f"\nVersion: {minidl.__version__}\n" in metadata
    needed = re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)
    assert [line for line in needed if "extra ==" not in line] == ["numpy>=2.0"]
    assert path.stat().st_size < 400_000, "a wheel of source alone is small"


def imported(name):
    """Top-level modules that a file of Python imports, wherever in it."""
    for node in ast.walk(ast.parse(read(name))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_the_source_archive_holds_what_the_tests_import_and_read(built):
    held = inside(built("sdist"))
    folders = ["", "exercises/", *{f"{name.rpartition('/')[0]}/" for name in files("tests")}]
    missing = []
    for name in sorted(n for n in files("tests") if n.endswith(".py")):
        for module in imported(name):
            own = [f"{f}{module}{end}" for f in folders for end in (".py", "/__init__.py")]
            there = [place for place in own if (ROOT / place).exists()]
            if there and not held.intersection(there):
                missing.append((name, module))
    assert missing == []
    for folder in "tests", "course", "exercises", "solutions", "examples", "benchmarks", "docs":
        source = {name for name in files(folder) if name.endswith((".py", ".ipynb", ".md"))}
        assert source - held == set(), folder
    # What a test names by its place, where the repository has it.
    programs = [read(name) for name in files("tests") if name.endswith(".py")]
    quoted = {word for text in programs for word in re.findall(r'"([^"\n]+)"', text)}
    named = {word for word in quoted if (ROOT / word).is_file()} - {".git"}
    assert {"README.md", "Makefile"} <= named
    assert {name for name in named - held if not name.startswith(("/", "my/"))} == set()


def test_the_source_archive_holds_what_git_holds(built):
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    if listed.returncode or not (ROOT / ".git").exists():
        pytest.skip("this is no clone of git")
    known = {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    held = inside(built("sdist")) - {"PKG-INFO"}
    assert known - held == set()
    new = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert held - known - set(new.stdout.split("\0")) == set()


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_second_build_gives_the_same_bytes(built, kind):
    assert built(kind).read_bytes() == built(kind, "again").read_bytes()


@pytest.mark.slow
def test_the_tests_of_an_unpacked_archive_are_found(built, tmp_path):
    """Each imports what it needs of the folder that it lies in, and nothing of this one."""
    with tarfile.open(built("sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (here,) = tmp_path.iterdir()
    code = (
        "import sys, pytest, minidl, grading\n"
        "for module in minidl, grading: assert module.__file__.startswith(sys.argv[1]), module\n"
        "sys.exit(pytest.main(['--collect-only', '-p', 'no:cacheprovider']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(here)], cwd=here, capture_output=True, text=True,
        env=environment(here),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.findall(r"^(\d+) tests collected", done.stdout, re.MULTILINE)[0]) > 5000


def environment(here):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "MINIDL"))}
    return kept | {"PYTHONPATH": os.pathsep.join([str(here), str(here / "exercises")])}


def test_one_version_and_one_date():
    """The version stands in minidl/__init__.py; the package's metadata are made of it."""
    project = read("pyproject.toml")
    assert 'dynamic = ["version"]' in project and 'path = "minidl/__init__.py"' in project
    newest = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", read("CHANGELOG.md"), re.MULTILINE)
    cited = dict(re.findall(r"^(version|date-released): (.+)$", read("CITATION.cff"), re.MULTILINE))
    assert newest.groups() == (minidl.__version__, cited["date-released"])
    assert cited["version"] == minidl.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", minidl.__version__)


def test_the_citation_is_spelled_as_its_readers_expect():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited.keys() >= {"cff-version", "message", "title", "authors"}
    assert cited["license"] == ["MIT", "CC-BY-4.0"]
    assert not re.search("https?://", read("CITATION.cff")), "there is no public address yet"


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.md")), ids=lambda p: p.stem)
def test_a_template_has_its_head_and_names_what_is_there(path):
    yaml = pytest.importorskip("yaml")
    text = path.read_text(encoding="utf-8")
    if path.parent.name == "ISSUE_TEMPLATE":
        _, head, text = text.split("---\n", 2)
        assert yaml.safe_load(head).keys() == {"name", "about", "labels"}
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert not [name for name in re.findall(r"\b[A-Z]+\.md\b", text) if not (ROOT / name).exists()]


def test_the_same_versions_of_python_everywhere():
    """In `make versions` and in the workflow all that are meant; in the metadata those that ran."""
    yaml = pytest.importorskip("yaml")
    meant = {version for version, _ in versions.PAIRS}
    jobs = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]
    assert set(jobs["suite"]["strategy"]["matrix"]["python"]) == meant
    told = set(re.findall(r"Programming Language :: Python :: (3\.\d+)", read("pyproject.toml")))
    ran = set(re.findall(r"^\| (3\.\d+)\.\d+ \|.* passed", read("docs/release.md"), re.MULTILINE))
    assert told == ran <= meant
    assert f'requires-python = ">={min(meant)}"' in read("pyproject.toml")


def test_a_python_is_found_if_it_runs_and_only_then():
    here = "{}.{}".format(*sys.version_info)
    assert versions.output(versions.find(here), "-c", versions.ASK) == here
    assert versions.find("2.9") is None


@pytest.mark.parametrize("page", ["SECURITY.md", "CODE_OF_CONDUCT.md", "docs/release.md"])
def test_links_in_the_pages_of_the_release_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(page))
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]
