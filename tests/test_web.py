"""The page that runs a model in the browser: what is written, and what a browser does with it."""

import json
import shutil
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PHONE

import minidl
from minidl import nn
from minidl.data.text import BytePairEncoding
from minidl.nn import functional as F

onnx = pytest.importorskip("onnx", reason="waits for onnx (pip install -e '.[onnx]')")

from minidl import web  # noqa: E402
from minidl.onnx import export  # noqa: E402

TEXT = "the cat sat on the mat, and the dog lay on the log; the end."
ENCODING = BytePairEncoding.train(TEXT, 270)


class Ended(nn.Module):
    """A model with one more function at its end."""

    def __init__(self, model, end):
        self.model, self.end = model, end

    def forward(self, x):
        return self.end(self.model(x))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of images and one of text, their files, and what passes for a runtime."""
    folder = tmp_path_factory.mktemp("models")
    minidl.manual_seed(0)
    image = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 13 * 13, 10)
    ).eval()
    text = nn.GPT(n_tokens=len(ENCODING), context=32, width=16, heads=2, layers=1).eval()
    letters = nn.GPT(n_tokens=3, context=8, width=4, heads=1, layers=1)
    export(image, folder / "image.onnx", np.zeros((2, 1, 28, 28), "float32"))
    export(text, folder / "text.onnx", np.zeros((2, 32), "int64"), axes=("N", "T"))
    export(letters, folder / "letters.onnx", np.zeros((2, 8), "int64"), axes=("N", "T"))
    export(nn.Linear(3, 2), folder / "table.onnx", np.zeros((2, 3), "float32"))
    one = nn.Sequential(nn.Flatten(), nn.Linear(784, 1))
    export(one, folder / "one.onnx", np.zeros((2, 1, 28, 28), "float32"))
    export(Ended(image, F.softmax), folder / "soft.onnx", np.zeros((2, 1, 28, 28), "float32"))
    export(Ended(text, F.softmax), folder / "softtext.onnx", np.zeros((2, 32), "int64"),
           axes=("N", "T"))  # fmt: skip
    (folder / "runtime" / "dist").mkdir(parents=True)
    for name in web.RUNTIME:
        (folder / "runtime" / "dist" / name).write_text("// nothing", encoding="utf-8")
    return SimpleNamespace(folder=folder, image=image, text=text)


def write(made, name, folder, **options):
    options.setdefault("runtime", made.folder / "runtime")
    return web.write(made.folder / f"{name}.onnx", folder, **options)


# ---- what is written


def test_a_page_for_images(made, tmp_path):
    found = write(made, "image", tmp_path / "page", labels=list("abcdefghij"), title="Letters")
    assert found["kind"] == "image" and found["shape"] == [1, 28, 28]
    assert found["labels"] == list("abcdefghij") and found["title"] == "Letters"
    assert json.loads((tmp_path / "page" / "settings.json").read_text("utf-8")) == found
    sizes = web.size(tmp_path / "page")
    assert {*web.PAGE, "model.onnx", "settings.json"} < {*sizes}
    assert sizes["model.onnx"] == found["bytes"] == (made.folder / "image.onnx").stat().st_size


def test_a_page_for_text(made, tmp_path):
    found = write(made, "text", tmp_path / "page", tokens=ENCODING.merges)
    assert found["kind"] == "text" and found["context"] == 32  # as its positions say
    assert [*map(tuple, found["merges"])] == ENCODING.merges
    found = write(made, "letters", tmp_path / "letters", tokens=["a", "b", "é"], context=5)
    assert found["characters"] == ["a", "b", "é"] and found["context"] == 5


def test_no_name_of_a_class_is_its_number(made, tmp_path):
    assert write(made, "image", tmp_path / "page")["labels"] == [*"0123456789"]


@pytest.mark.parametrize(
    "name, options, error, said",
    [
        (
            "image",
            {"labels": ["a", "b"]},
            ValueError,
            r"\(--labels\).*10 classes, got 2: \['a', 'b'",
        ),
        ("image", {"labels": [*"abcdefghbj"]}, ValueError, r"labels .*more than once: \['b'\]$"),
        ("image", {"tokens": ["a"]}, ValueError, r"tokens \(--tokens\).*of text.*of images"),
        ("image", {"context": 3}, ValueError, r"context \(--context\)"),
        ("one", {}, ValueError, "one number .*no choice"),
        ("one", {"labels": ["yes"]}, ValueError, "one number .*no choice"),
        ("text", {"tokens": ENCODING.merges[:-1]}, ValueError, r"\(--tokens\).* 9 merges"),
        ("text", {}, ValueError, r"tokens \(--tokens\).*got none"),
        (
            "text",
            {"tokens": [1, 2]},
            ValueError,
            r"\(--tokens\).*pairs of whole numbers, or characters",
        ),
        ("text", {"tokens": [[0.5, 1]] * 14}, ValueError, "pairs of whole numbers"),
        (
            "text",
            {"tokens": [*ENCODING.merges[:-1], (270, 1)]},
            ValueError,
            r"\[270, 1\].*below 264",
        ),
        ("text", {"tokens": [*ENCODING.merges[:-1], ENCODING.merges[0]]}, ValueError, "than once"),
        ("text", {"tokens": ENCODING.merges, "labels": ["a"]}, ValueError, r"labels \(--labels\)"),
        ("text", {"tokens": ENCODING.merges, "centre": True}, ValueError, r"centre \(--centre\)"),
        ("text", {"tokens": ENCODING.merges, "context": 33}, ValueError, "from 1 to 32, got 33"),
        ("text", {"tokens": ENCODING.merges, "context": 0}, ValueError, "from 1 to 32, got 0"),
        ("letters", {"tokens": [*"aab"]}, ValueError, r"tokens .*more than once: \['a'\]$"),
        ("letters", {"tokens": [*"ab"]}, ValueError, r"3 tokens.*got 2 characters"),
        ("table", {}, ValueError, r"x float32 \(N, 3\) and gives output float32 \(N, 2\)"),
        ("image", {"runtime": "nowhere"}, RuntimeError, r"\(--runtime\).*nowhere is not there"),
        ("image", {"runtime": __file__}, RuntimeError, r"\(--runtime\).*test_web.py is no archive"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    made, tmp_path, name, options, error, said
):
    with pytest.raises(error, match=said):
        write(made, name, tmp_path / "page", **options)
    assert not (tmp_path / "page").exists()


def test_a_runtime_that_is_cut_or_of_something_else_is_refused(made, tmp_path):
    whole, cut = tmp_path / "whole.tgz", tmp_path / "cut.tgz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(made.folder / "table.onnx", "package/table.onnx")
    cut.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(RuntimeError, match=r"cut.tgz is no archive"):
        write(made, "image", tmp_path / "page", runtime=cut)
    with pytest.raises(RuntimeError, match=r"whole.tgz is not onnxruntime-web.*has no ort.wasm"):
        write(made, "image", tmp_path / "page", runtime=whole)
    assert not (tmp_path / "page").exists()


def test_a_model_for_more_than_one_image_at_a_time_is_refused(made, tmp_path):
    model = onnx.load(made.folder / "image.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(ValueError, match=r"takes x float32 \(2, 1, 28, 28\)"):
        web.write(tmp_path / "two.onnx", tmp_path / "page", runtime=made.folder / "runtime")


@pytest.mark.parametrize(
    "end, expected",
    [
        (F.softmax, True),
        (lambda y: F.softmax(y).reshape(-1, 10), True),  # (N, K) -> (N, K)
        (lambda y: y.sigmoid(), True),
        (F.log_softmax, False),  # a softmax of it gives the same probabilities
        (lambda y: F.softmax(y) * 3, False),
        (lambda y: y, False),
    ],
)
def test_whether_a_model_gives_probabilities_is_read_in_its_file(made, tmp_path, end, expected):
    path = tmp_path / "model.onnx"
    export(Ended(made.image, end), path, np.zeros((2, 1, 28, 28), "float32"))
    assert web.gives_probabilities(onnx.load(path)) is expected
    found = web.write(path, tmp_path / "page", runtime=made.folder / "runtime")
    assert found["probabilities"] is expected


@pytest.mark.parametrize("old", [False, True])
def test_on_a_full_disk_nothing_half_written_stays(made, tmp_path, old):
    """The limit on a file's size stands for a full disk: write() fails in the middle."""
    pytest.importorskip("resource", reason="waits for Unix")
    shutil.copytree(made.folder / "runtime", tmp_path / "runtime")
    (tmp_path / "runtime" / "dist" / web.RUNTIME[-1]).write_bytes(bytes(200_000))
    page = tmp_path / "some" / "where"
    if old:
        write(made, "image", page, title="old")
    before = contents(page)
    program = """
import resource, signal, sys
from minidl.web.__main__ import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
main()
"""
    words = [made.folder / "image.onnx", page, "--runtime", tmp_path / "runtime"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "the page could not be written" in done.stderr and "File too large" in done.stderr
    assert contents(page) == before
    assert (tmp_path / "some").exists() is old


def contents(folder):
    """Name -> bytes of all that lies in a folder."""
    return {str(f.relative_to(folder)): f.is_file() and f.read_bytes() for f in folder.rglob("*")}


def test_a_file_that_is_no_model_is_refused(made, tmp_path):
    content = bytearray((made.folder / "image.onnx").read_bytes())
    (tmp_path / "torn.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="no valid file of ONNX"):
        web.write(tmp_path / "torn.onnx", tmp_path / "page", runtime=made.folder / "runtime")
    assert not (tmp_path / "page").exists()


def test_a_folder_of_something_else_is_left_alone_and_a_page_replaced(made, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="something else"):
        write(made, "image", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    write(made, "image", tmp_path / "page")
    assert write(made, "image", tmp_path / "page", title="again")["title"] == "again"


def test_without_npm_it_says_what_to_do(made, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"npm is not on this machine.*--runtime"):
        write(made, "image", tmp_path / "page", runtime=None)


def test_the_command(made, tmp_path):
    def run(*more):
        command = [
            sys.executable,
            "-m",
            "minidl.web",
            made.folder / "image.onnx",
            tmp_path / "page",
        ]
        return subprocess.run(
            [*command, "--runtime", made.folder / "runtime", *more], capture_output=True, text=True
        )

    done = run("--labels", "a,b,c,d,e,f,g,h,i,j")
    assert done.returncode == 0, done.stderr
    assert "http.server" in done.stdout and "0.05 MB of them the model" in done.stdout
    torn, number = tmp_path / "torn.json", tmp_path / "number.json"
    torn.write_text("{x", encoding="utf-8")
    number.write_text("5", encoding="utf-8")
    for options, said in [
        (["--labels", "a,b"], "10 classes"),
        (["--tokens", torn], "--tokens: torn.json is no JSON"),
        (["--tokens", tmp_path], "cannot be read: Is a directory"),
        (["--tokens", number], "--tokens: number.json holds no list"),
        (["--tokens", "nowhere.json"], "nowhere.json"),
        (["--runtime", "nowhere"], "nowhere is not there"),
    ]:
        done = run(*options)
        assert done.returncode == 1 and said in done.stderr.replace(f"{tmp_path}/", ""), done.stderr
        assert "Traceback" not in done.stderr


# ---- in a browser


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """npm's package, fetched once."""
    if shutil.which("npm") is None:
        pytest.skip("waits for npm")
    with web.runtime_files(None) as files:
        kept = tmp_path_factory.mktemp("runtime")
        for file in files:
            shutil.copy(file, kept)
    return kept


def opened(browser, address):
    """The page's state, once it is ready or has failed, and what it says."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(address)
    state = WebDriverWait(browser, 60).until(
        lambda b: b.execute_script("return document.body.dataset.state")
    )
    return state, browser.find_element("id", "state").text


def offline(browser):
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )


def settled(browser, script, before):
    """What `script` gives, once it differs from `before` and stays so."""
    from selenium.webdriver.support.ui import WebDriverWait

    seen = [before]

    def still(b):
        seen.append(b.execute_script(script))
        return seen[-1] != before and seen[-1] == seen[-2]

    WebDriverWait(browser, 60, poll_frequency=0.4).until(still)
    return seen[-1]


ANSWER = "return JSON.stringify(window.minidl, (k, v) => ArrayBuffer.isView(v) ? [...v] : v)"


def probabilities(model, x):
    with minidl.no_grad():
        return F.softmax(model(minidl.tensor(x))).numpy()


def in_a_screen_reader(browser):
    """Pairs (role, name) of all that it finds."""
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return {
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in tree
        if not node["ignored"]
    }


def says_no_wrong(browser):
    """No error in the browser's console."""
    errors = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []


def finger(browser, points):
    """Draws a line through points (x, y) of the window."""
    for kind, at in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points):
        touched = {"type": kind, "touchPoints": [dict(zip("xy", at))]}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", touched)
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def mouse(browser, points):
    """The same with a button held down; and moves over the page without one, which draw nothing."""
    moves = [("mouseMoved", 0, points[0]), ("mousePressed", 1, points[0])]
    moves += [("mouseMoved", 1, at) for at in points[1:]]
    away = points[-1][0], points[-1][1] + 80
    moves += [("mouseReleased", 0, points[-1]), ("mouseMoved", 0, away)]
    for kind, held, at in moves:
        button = "left" if "Moved" not in kind or held else "none"
        event = {"type": kind, "button": button, "buttons": held, "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event | dict(zip("xy", at)))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [finger, mouse])
def test_a_finger_draws_and_the_page_answers_as_python_does(
    made, runtime, chromium, served, tmp_path, draw
):
    write(made, "image", tmp_path / "page", runtime=runtime)
    browser = chromium()
    assert opened(browser, served(tmp_path / "page"))[0] == "ready"
    offline(browser)  # nothing more is fetched
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    nothing = browser.execute_script(ANSWER)
    assert json.loads(nothing)["blank"]

    box = browser.find_element("id", "canvas").rect
    y = box["y"] + 0.6 * box["height"]
    draw(browser, [(box["x"] + share * box["width"], y) for share in (0.3, 0.5, 0.7)])
    answer = json.loads(settled(browser, ANSWER, nothing))
    pixels = np.array(answer["pixels"], "float32").reshape(1, 1, 28, 28)
    rows, columns = np.nonzero(pixels[0, 0] > 0.5)
    assert rows.min() >= 15 and rows.max() <= 18  # a line at 0.6 of the height, 2 pixels wide
    assert columns.min() in (7, 8) and columns.max() in (19, 20)
    expected = probabilities(made.image, pixels)[0]
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-4)

    shown = [
        row.get_attribute("data-p") for row in browser.find_elements("css selector", "#classes tr")
    ]
    np.testing.assert_allclose([float(p) for p in shown], expected, atol=1e-4)
    said = settled(browser, "return document.getElementById('answer').textContent", "")
    assert said == f"{expected.argmax()}, {100 * expected.max():.0f} %"
    browser.find_element("id", "clear").click()
    assert json.loads(settled(browser, ANSWER, json.dumps(answer)))["blank"]
    says_no_wrong(browser)


@pytest.mark.slow
def test_by_keyboard_and_for_a_screen_reader(made, runtime, chromium, served, tmp_path):
    from selenium.webdriver.common.keys import Keys

    write(made, "image", tmp_path / "page", runtime=runtime)
    browser = chromium()
    assert opened(browser, served(tmp_path / "page"))[0] == "ready"
    nothing = browser.execute_script(ANSWER)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "canvas"  # the first stop
    browser.switch_to.active_element.send_keys(
        *[Keys.ARROW_UP] * 6, " ", *[Keys.ARROW_DOWN] * 12, " ", Keys.ARROW_LEFT
    )
    answer = json.loads(settled(browser, ANSWER, nothing))
    drawn = np.array(answer["pixels"]).reshape(28, 28)
    rows, columns = np.nonzero(drawn > 0.5)
    assert (rows.min(), rows.max()) == (8, 19) or (rows.min(), rows.max()) == (7, 20)
    assert {*columns} == {13, 14}
    assert browser.find_element("id", "pen").get_attribute("textContent") == (
        "Pen up, row 20, column 13"
    )
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "clear"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    settled(browser, ANSWER, json.dumps(answer))

    named = in_a_screen_reader(browser)
    for role, name in [
        ("application", "Drawing area, 28 rows, 28 columns"), ("button", "Clear"),
        ("checkbox", "Centre, as in MNIST"), ("status", "Answer"),
        ("table", "Probability of each class"), ("heading", "image"), ("rowheader", "7"),
    ]:  # fmt: skip
        assert (role, name) in named, (role, name)
    says_no_wrong(browser)


@pytest.mark.slow
def test_a_drawing_is_scaled_and_centred(made, runtime, chromium, served, tmp_path):
    write(made, "image", tmp_path / "page", runtime=runtime, centre=True)
    browser = chromium()
    assert opened(browser, served(tmp_path / "page"))[0] == "ready"
    nothing = browser.execute_script(ANSWER)
    box = browser.find_element("id", "canvas").rect
    for kind, share in ("touchStart", 0.1), ("touchMove", 0.3), ("touchEnd", 0):  # in a corner
        point = {"x": box["x"] + share * box["width"], "y": box["y"] + share * box["height"]}
        points = [point] if share else []
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    answer = json.loads(settled(browser, ANSWER, nothing))
    drawn = np.array(answer["pixels"]).reshape(28, 28)
    middle = np.arange(28) + 0.5
    mass = drawn.sum()
    assert abs((drawn.sum(1) * middle).sum() / mass - 14) < 0.2
    assert abs((drawn.sum(0) * middle).sum() / mass - 14) < 0.2
    rows = np.flatnonzero(drawn.max(1) > 0.3)
    assert 18 <= rows.max() - rows.min() + 1 <= 21


@pytest.mark.slow
def test_text_is_read_as_python_reads_it_and_goes_on(made, runtime, chromium, served, tmp_path):
    write(made, "text", tmp_path / "page", runtime=runtime, tokens=ENCODING.merges)
    browser = chromium()
    assert opened(browser, served(tmp_path / "page"))[0] == "ready"
    offline(browser)
    area = browser.find_element("id", "text")
    put = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    for text in (
        "the cat", " the  mat ,\n\nand", "don't... 3_000 œuvre\u00a0— «là»!", "end \n ",
        "日本語 と 𝕏²½", "a\x1cb\u200bc\ufeffd\u2003e", "sat on the mat, " * 9,
    ):  # fmt: skip
        before = browser.execute_script(ANSWER)
        browser.execute_script(put, area, text)
        found = json.loads(settled(browser, ANSWER, before))
        assert found["numbers"] == ENCODING.encode(text), text
        read = np.array([found["numbers"][-32:]], "int64")
        np.testing.assert_allclose(
            found["probabilities"], probabilities(made.text, read)[0, -1], atol=1e-4
        )
    browser.execute_script(put, area, "the ")
    browser.find_element("id", "go").click()
    label = "return document.getElementById('go').textContent"
    settled(browser, label, "Stop")
    named = in_a_screen_reader(browser)
    for role, name in [
        ("heading", "text"), ("textbox", "Type a beginning; the model goes on."),
        ("button", "Go on"), ("slider", "Temperature"), ("table", "What comes next"),
    ]:  # fmt: skip
        assert (role, name) in named, sorted(n for r, n in named if r == role)
    longer = area.get_property("value")
    assert longer.startswith("the ") and len(longer) > len("the ")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    says_no_wrong(browser)


@pytest.mark.slow
def test_characters_and_temperature_zero(made, runtime, chromium, served, tmp_path):
    write(made, "letters", tmp_path / "page", runtime=runtime, tokens=["a", "b", "é"])
    browser = chromium()
    assert opened(browser, served(tmp_path / "page"))[0] == "ready"
    area = browser.find_element("id", "text")
    browser.execute_script(
        "arguments[0].value = 'bé?'; document.getElementById('temperature').value = 0;"
        "arguments[0].dispatchEvent(new Event('input')); document.getElementById('go').click()",
        area,
    )
    settled(browser, "return document.getElementById('go').textContent", "Stop")
    found = json.loads(browser.execute_script(ANSWER))
    model = minidl.onnx.load(made.folder / "letters.onnx").eval()
    ids = [1, 2]  # "?" has no number
    for _ in range(60):
        ids.append(int(probabilities(model, np.array([ids[-8:]], "int64"))[0, -1].argmax()))
    assert found["numbers"] == ids


@pytest.mark.slow
def test_a_model_that_ends_in_a_softmax_gets_no_other(made, runtime, chromium, served, tmp_path):
    browser = chromium()
    write(made, "soft", tmp_path / "page", runtime=runtime)
    assert opened(browser, served(tmp_path / "page"))[0] == "ready"
    nothing = browser.execute_script(ANSWER)
    box = browser.find_element("id", "canvas").rect
    for kind, share in ("touchStart", 0.3), ("touchMove", 0.7), ("touchEnd", 0):
        point = {"x": box["x"] + share * box["width"], "y": box["y"] + 0.6 * box["height"]}
        points = [point] if share else []
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    answer = json.loads(settled(browser, ANSWER, nothing))
    pixels = np.array(answer["pixels"], "float32").reshape(1, 1, 28, 28)
    expected = probabilities(made.image, pixels)[0]
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-4)

    write(made, "softtext", tmp_path / "text", runtime=runtime, tokens=ENCODING.merges)
    assert opened(browser, served(tmp_path / "text"))[0] == "ready"
    found = json.loads(browser.execute_script(ANSWER))
    expected = probabilities(made.text, np.array([found["numbers"]], "int64"))[0, -1]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-4)
    says_no_wrong(browser)


@pytest.mark.slow
def test_an_old_browser_is_told_what_it_lacks_before_anything_is_loaded(
    made, runtime, chromium, served, tmp_path
):
    write(made, "image", tmp_path / "page", runtime=runtime)
    browser, address = chromium(), served(tmp_path / "page")
    for hidden, said in [
        ("delete HTMLScriptElement.prototype.noModule", "no JavaScript modules"),
        ("delete globalThis.WebAssembly", "no WebAssembly"),
        ("WebAssembly.validate = () => false", "WebAssembly's vector instructions"),
        ("WebAssembly.Memory = function () { throw new TypeError('x') }", "shared memory"),
        ("delete globalThis.BigInt64Array", "no BigInt64Array"),
        (  # which chromedriver uses too, later
            "const own = Object.hasOwn; delete Object.hasOwn;"
            "addEventListener('load', () => { Object.hasOwn = own })",
            "no Object.hasOwn",
        ),
        ("delete Element.prototype.replaceChildren", "no replaceChildren"),
        ("delete globalThis.PointerEvent", "no PointerEvent"),
    ]:
        script = {"source": hidden}  # before the page's own
        key = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        state, words = opened(browser, address)
        assert state == "failed" and said in words and "2023" in words, (hidden, words)
        loaded = browser.execute_script(
            "return performance.getEntriesByType('resource').map((file) => file.name)"
        )
        assert not [name for name in loaded if not name.endswith(".css")], hidden
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", key)
    assert opened(browser, address)[0] == "ready"


@pytest.mark.slow
def test_what_it_cannot_read_or_load_is_said(made, runtime, chromium, served, tmp_path):
    browser = chromium()

    def said(name, content):
        page = tmp_path / name
        write(made, "image", page, runtime=runtime)
        if content is None:
            (page / name).unlink()
        else:
            (page / name).write_text(content, encoding="utf-8")
        state, words = opened(browser, served(page))
        assert state == "failed", words
        return words

    assert "too old" in said("main.js", "const a = ;")  # as a browser reads newer JavaScript
    assert "too old" in said("runtime/ort.wasm.min.mjs", "const a = ;")
    assert "write the page again" in said("answers.js", None)
    assert "settings.json cannot be read" in said("settings.json", None)
    state, words = opened(browser, (tmp_path / "main.js" / "index.html").as_uri())
    assert state == "failed" and "python -m http.server" in words


@pytest.mark.slow
def test_without_javascript_it_says_so(made, chromium, served, tmp_path):
    write(made, "image", tmp_path / "page")
    browser = chromium()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(served(tmp_path / "page"))
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    words = " ".join(node.get("name", {}).get("value", "") for node in tree if not node["ignored"])
    assert "needs JavaScript" in words and "Loading" not in words


@pytest.mark.slow
@pytest.mark.parametrize("change", ["a byte", "half", "gone"])
def test_a_model_changed_by_hand_is_not_run(made, runtime, chromium, served, tmp_path, change):
    write(made, "image", tmp_path / "page", runtime=runtime)
    file = tmp_path / "page" / "model.onnx"
    content = bytearray(file.read_bytes())
    if change == "a byte":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif change == "half":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    state, said = opened(chromium(), served(tmp_path / "page"))
    assert state == "failed" and "model.onnx is not the one" in said
