"""The site: it is built whole, leads nowhere wrong, and can be read by everybody.

What looks at the built site builds it once, for all processes of the tests.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import nbformat
import pytest
from conftest import PHONE, WAITS

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(path.stem for path in (ROOT / "course").glob("*.ipynb"))
DESK = 1440, 900  # pixels of a common screen

# One page of each kind.
KINDS = """
    index README course/index course/04_descent course/07_tensor exercises/index
    exercises/04_descent docs/index docs/grading docs/benchmarks reference/index reference/optim
    _modules/minidl/optim files/examples/server.py files/tests search genindex
""".split()


def module(name):
    """A module of docs/site, whose names are too plain to be on the path of all tests."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / f"docs/site/{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


check, reference = module("check"), module("reference")


# ---- its parts


def test_what_is_wrong_in_pages_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top1">A</h1><a href="b.html#there">b</a> <a href="b.html#gone">b</a>'
        '<a href="#top1">up</a> <a href="c.html">c</a> <a href="https://example.org/x">out</a>'
        '<img src="p.png" alt=" "><script src="https://example.org/s.js"></script>'
        '<link rel="canonical" href="https://example.org/a.html">',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text('<p id="there">' + "x" * check.LARGEST, encoding="utf-8")
    (tmp_path / "p.png").write_bytes(b"")
    assert check.faults(tmp_path) == [
        "a.html: an image without words, p.png",
        "a.html: fetches https://example.org/s.js",
        "a.html: b.html#gone: the page has no such place",
        "a.html: c.html is not there",
        "b.html has 3.0 MB",
    ]


def test_docstrings_become_paragraphs_lists_and_code():
    text = """x * y_ of `data`s.

x, *more: what is
    given.
lr >= 0: the rate.

    model.fit(x)

- one
- two"""
    assert "\n".join(reference.marked_up(text)).split("\n\n") == [
        r"x \* y\_ of ``data``\ s.",
        "* ``x, *more``: what is\n  given.\n* ``lr >= 0``: the rate.",
        "::",
        "    model.fit(x)",
        "* one\n* two\n",
    ]


@pytest.mark.parametrize(
    "text, parts",
    [
        (r"\hat y_n", ["<msub>", "accent"]),
        (r"\dots", ["…"]),
        (r"\operatorname*{arg\,min}_k", ["<mtext>arg min</mtext>"]),
    ],
)
def test_formulas(text, parts):
    pytest.importorskip("docutils", reason=WAITS + "Sphinx (pip install -e '.[site]')")
    made = module("formulas").numbered(text + r" \tag{7}")
    assert [part for part in [*parts, "(7)</span>"] if part not in made] == [], made
    assert "munderover" not in made


def test_workflows_are_as_their_host_reads_them():
    pytest.importorskip("check_jsonschema", reason=WAITS + "check-jsonschema (pip install it)")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    schema = ["--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, *files], capture_output=True, text=True
    )
    assert files and done.returncode == 0, done.stdout + done.stderr


# ---- the whole of it


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, and what its program said.

    Where several processes share the tests, the first one builds and the others wait.
    """
    pytest.importorskip("myst_nb", reason=WAITS + "Sphinx (pip install -e '.[site]')")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, said = shared / "site", shared / "site.json"
    try:
        (shared / "site-begun").mkdir()
    except FileExistsError:
        while not said.exists():
            time.sleep(0.5)
    else:
        environment = {k: v for k, v in os.environ.items() if k != "MINIDL_REPOSITORY"}
        command = [sys.executable, ROOT / "docs/site/build.py", "--jobs", "2", folder]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        found = [done.returncode, done.stdout + done.stderr]
        (shared / "site-part").write_text(json.dumps(found), encoding="utf-8")
        (shared / "site-part").rename(said)
    code, words = json.loads(said.read_text(encoding="utf-8"))
    if code:
        pytest.fail(f"the site was not built:\n{words[-6000:]}")
    return folder


def page(site, name):
    return (site / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_is_built_without_a_warning_and_no_link_is_broken(site):
    """Sphinx's warnings, and what check.py finds, end the program with an error: see `site`."""
    assert len([*site.glob("course/[0-9]*.html")]) == len(LESSONS) == 28


@pytest.mark.slow
def test_the_lessons_follow_each_other_and_show_all_their_figures(site):
    found, name, missing = [], LESSONS[0], []
    while name in LESSONS:
        found.append(name)
        text = page(site, f"course/{name}")
        nb = nbformat.read(ROOT / "course" / f"{name}.ipynb", as_version=4)
        outputs = [output for cell in nb.cells for output in cell.get("outputs", ())]
        words = [
            o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})
        ]
        shown = re.findall(r'<img alt="([^"]+)"', text)
        missing += [w for w in words if html_text(w) not in map(html_text, shown)]
        folded = sum("hide-input" in cell.metadata.get("tags", ()) for cell in nb.cells)
        assert len(re.findall(r'<details class="admonition hide above-input"', text)) == folded
        name = re.search(r'rel="next"[^>]*href="(\w+)\.html"', text)
        name = name[1] if name else ""
    assert found == LESSONS and missing == []


def html_text(text):
    """A text as it is compared, without the signs that HTML writes otherwise."""
    return re.sub(r"&\w+;|&#\w+;|[^\w]", "", text)


@pytest.mark.slow
def test_each_lesson_leads_to_its_exercises_and_back(site):
    for path in sorted((ROOT / "exercises").glob("*.ipynb")):
        assert f'href="../exercises/{path.stem}.html"' in page(site, f"course/{path.stem}")
        assert f'href="../course/{path.stem}.html"' in page(site, f"exercises/{path.stem}")


@pytest.mark.slow
def test_no_answer_is_published(site):
    answers = []
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for answer in re.findall(r"### BEGIN SOLUTION\n(.*?)### END", cell.source, re.DOTALL):
                answers += [line.strip() for line in answer.split("\n") if len(line) > 50]
    assert len(answers) > 100
    given = "\n".join(p.read_text("utf-8") for p in (ROOT / "exercises").glob("*.ipynb"))
    text = "\n".join(re.sub("<[^>]*>", "", page(site, f"exercises/{p.stem}"))
                     for p in (ROOT / "exercises").glob("*.ipynb"))  # fmt: skip
    plain = re.sub(r"\W", "", text)
    assert "BEGIN SOLUTION" not in text
    known = re.sub(r"\W", "", given)
    shown = [a for a in answers if (short := re.sub(r"\W", "", a)) in plain and short not in known]
    assert shown == []


@pytest.mark.slow
def test_each_public_name_leads_to_its_lesson_and_its_source(site):
    from test_course import HOME

    pages = {room: page(site, f"reference/{room}") for room in reference.PAGES}
    missing = []
    for name, number in HOME.items():
        path = reference.address(*name.rsplit(".", 1))
        room = "minidl" if path.count(".") == 1 else path.split(".")[1]
        entry = pages[room].partition(f'id="{path}"')[2].partition('<dt class="sig sig-object')[0]
        lesson = f'href="../course/{LESSONS[number]}.html"'
        if lesson not in entry:
            missing.append(f"{path}: lesson {number}")
        if "../_modules/minidl/" not in entry and "<pre>" not in entry:
            missing.append(f"{path}: source")
    assert len(HOME) > 300 and missing == []


@pytest.mark.slow
def test_jupyterlite_has_the_lessons_and_a_wheel(tmp_path):
    pytest.importorskip("jupyterlite_core", reason=WAITS + "JupyterLite (pip install -e '.[lite]')")
    command = [sys.executable, ROOT / "docs/lite/build.py", tmp_path / "lite"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    files = tmp_path / "lite" / "files"
    assert [p.stem for p in sorted(files.glob("course/*.ipynb"))] == LESSONS
    first = nbformat.read(files / "course" / "04_descent.ipynb", as_version=4).cells[0]
    assert first.source.splitlines()[1].startswith("%pip install -q minidl numpy")
    assert (files / "exercises/grading/__init__.py").exists()
    assert len([*(tmp_path / "lite").rglob("minidl-*.whl")]) == 1


# ---- in a browser


def sized(browser, size):
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def opened(browser, site, name, mode="light"):
    """Open a page from the disk, light or dark."""
    media = [{"name": "prefers-color-scheme", "value": mode}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get((site / f"{name}.html").as_uri())


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_page_scrolls_sideways(site, chromium, size):
    browser = chromium()
    sized(browser, size)
    lessons = [f"course/{name}" for name in LESSONS]
    rooms = [f"reference/{room}" for room in reference.PAGES]
    how_tos = [f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")]
    wide = {}
    for name in dict.fromkeys([*KINDS, *lessons, *rooms, *how_tos]):
        opened(browser, site, name)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > size[0]:
            wide[name] = width
    assert wide == {}


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of axe-core, fetched by npm."""
    if shutil.which("npm") is None:
        pytest.skip(WAITS + "npm")
    place = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "axe-core", "--pack-destination", place]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
    found => done(found.violations.map(v => [v.impact, v.id, v.nodes[0].html.slice(0, 150),
        (v.nodes[0].any[0] || {message: ""}).message, v.nodes.length])),
    error => done([["critical", "axe failed", String(error), "", 1]]));
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_serious(site, chromium, axe, mode):
    browser = chromium()
    browser.set_script_timeout(120)
    found = []
    for size, names in (DESK, KINDS), (PHONE, ["index", "course/04_descent", "reference/optim"]):
        sized(browser, size)
        for name in names:
            opened(browser, site, name, mode)
            browser.execute_script(axe)
            wrong = browser.execute_async_script(AXE)
            found += [(name, size[0], *w) for w in wrong if w[0] in ("serious", "critical")]
    assert found == []


@pytest.mark.slow
def test_the_keyboard_and_the_search_need_no_network(site, chromium):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    browser = chromium()
    sized(browser, DESK)
    opened(browser, site, "index")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    first = browser.switch_to.active_element.get_attribute("textContent")
    assert first.strip() == "Skip to main content"

    browser.get((site / "search.html").as_uri() + "?q=softmax")
    lesson = "#search-results a[href*='course/05_probability.html']"
    WebDriverWait(browser, 60).until(lambda b: b.find_elements("css selector", lesson))
    outside = [line["message"] for line in browser.get_log("browser") if "http" in line["message"]]
    assert outside == []


@pytest.mark.slow
def test_light_and_dark_are_two(site, chromium):
    browser = chromium()
    seen = []
    for mode in "light", "dark":
        opened(browser, site, "course/04_descent", mode)
        colour = "return getComputedStyle(document.body).backgroundColor"
        seen.append(browser.execute_script(colour))
    assert len(set(seen)) == 2, seen
