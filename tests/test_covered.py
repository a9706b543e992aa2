"""What `make coverage` says at its end: lines by part, and whether they are enough."""

from types import SimpleNamespace

import pytest

pytest.importorskip("coverage", reason="waits for coverage")

import covered


def test_lines_are_summed_by_part(tmp_path):
    missing = {"minidl/io.py": [2], "minidl/nn/a.py": [], "minidl/nn/b.py": [1, 3]}
    for file in missing:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("1\n" * 4, encoding="utf-8")

    def analysis2(path):
        absent = next(gone for file, gone in missing.items() if path.endswith(file))
        return path, [1, 2, 3, 4], [], absent, ", ".join(map(str, absent))

    found = covered.lines(SimpleNamespace(analysis2=analysis2), tmp_path)
    assert {file.as_posix(): text for file, (_, _, text) in found.items()} == {
        "minidl/io.py": "2", "minidl/nn/a.py": "", "minidl/nn/b.py": "1, 3"
    }  # fmt: skip
    rows, share = covered.table(found)
    wanted = "io 4 1 75.0 %", "nn 8 2 75.0 %", "all 12 3 75.0 %"
    assert [" ".join(row.split()) for row in rows[1:]] == list(wanted)
    assert share == 75.0
