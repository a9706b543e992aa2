"""Tables in files: every column as it was said, every wrong cell named."""

import csv
import json

import numpy as np
import pytest

from minidl.data import ArrayDataset, DataLoader, read_csv


@pytest.fixture
def table(tmp_path):
    def write(content, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_text(content, encoding=encoding, newline="")
        return path

    return write


FLOWERS = """length,kind,width,note
5.1,setosa,3.5,"a, quoted"
7,versicolor,3.2e0,
6.3,virginica, 3.3 ,x
4.9,setosa,-3,"two
lines"
"""


def test_read_csv(table):
    for content, encoding in [
        (FLOWERS, "utf-8"), (FLOWERS, "utf-8-sig"), (FLOWERS.replace("\n", "\r\n"), "utf-8"),
    ]:  # fmt: skip
        path = table(content, encoding)
        dataset = read_csv(path, target="kind", features=["width", "length"])
        x, y = dataset[:]
        np.testing.assert_array_equal(
            x, np.float32([[3.5, 5.1], [3.2, 7], [3.3, 6.3], [-3, 4.9]]), strict=True
        )
        np.testing.assert_array_equal(y, np.int64([0, 1, 2, 0]), strict=True)
        assert dataset.classes == ["setosa", "versicolor", "virginica"]
        x.sum(), list(DataLoader(dataset, 2))


def test_read_csv_by_default_takes_all_other_columns(table):
    x, y = read_csv(table("a,b,y\n1,2,no\n3,4,yes\n\n5,6,no\n"), target="y")[:]
    assert x.tolist() == [[1, 2], [3, 4], [5, 6]] and y.tolist() == [0, 1, 0]


def test_read_csv_classes_may_be_given(table):
    """So that a second file gets the labels of the first."""
    path = table("a,y\n1,no\n2,yes\n")
    dataset = read_csv(path, target="y", classes=("yes", "maybe", "no"))
    assert dataset.arrays[1].tolist() == [2, 0] and dataset.classes == ["yes", "maybe", "no"]
    with pytest.raises(
        ValueError, match=r"line 3, column 'y': expected one of \['no'\], got 'yes'"
    ):
        read_csv(path, target="y", classes=["no"])


def test_read_csv_a_target_of_numbers(table):
    path = table("a;price\n1;2.5\n2;10\n3;2.5\n")
    dataset = read_csv(path, target="price", numeric=True, delimiter=";")
    np.testing.assert_array_equal(dataset.arrays[1], np.float32([2.5, 10, 2.5]), strict=True)
    assert dataset.classes is None
    with pytest.raises(ValueError, match=r"'price' holds numbers, such as .*True .*numeric=False"):
        read_csv(path, target="price", delimiter=";")
    names = read_csv(path, target="price", numeric=False, delimiter=";")
    assert names.classes == ["2.5", "10"], "sorted as words, not as numbers"
    assert names.arrays[1].tolist() == [0, 1, 0]
    for some in (names, dataset):
        assert read_csv(path, **some.options).arrays[1].tolist() == some.arrays[1].tolist()
    given = read_csv(path, target="price", classes=["10", "2.5"], delimiter=";")
    assert given.arrays[1].tolist() == [1, 0, 1]


def test_read_csv_numbers_among_words_are_words(table):
    dataset = read_csv(table("a,y\n1,3\n2,none\n3,12\n"), target="y")
    assert dataset.classes == ["12", "3", "none"]


def test_read_csv_of_another_encoding(table):
    path = table("a,y\n1,no\n")
    path.write_bytes("a,y\n1,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"table\.csv is not in UTF-8, .*latin-1"):
        read_csv(path, target="y")


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("a,y\n1,no\n,no\n", {}, "line 3, column 'a': expected a number, got ''"),
        ("a,y\n1,no\nNA,no\n", {}, "line 3, column 'a': expected a number, got 'NA'"),
        ("a,y\n1,no\n\nnan,no\n", {}, "line 4, column 'a': expected a number, got 'nan'"),
        ("a,y\n-inf,no\n", {}, "line 2, column 'a': expected a number, got '-inf'"),
        ("y,a\nno,1\nno,\n", {}, "line 3, column 'a': expected a number, got ''"),
        ("a,y\n1,no\n2,\n", {}, r"line 3, column 'y': expected one of \['no'\], got ''"),
        ("a,y\n1,no\n2\n", {}, "line 3: fewer cells than the 2 columns"),
        ("a,y\n1,2\n1,x\n", {"numeric": True}, "line 3, column 'y': expected a number, got 'x'"),
        ("a,y\n1,5,no\n", {}, "line 2: more cells than the 2 columns"),
        ("a,b\n1,2\n", {}, r"target 'y', got 1 rows with columns \['a', 'b'\]"),
        ("a;y\n1;2\n", {}, r"columns \['a;y'\].*; delimiter="),
        ("a,y\n1,2\n", {"features": ["a", "c"]}, r"features \['a', 'c'\].*columns \['a', 'y'\]"),
        ("a,y\n1,2\n", {"features": ["a", "y"]}, "another|target 'y'"),
        ("a,y\n1,2\n", {"features": []}, r"features \[\]"),
        ("y\nno\n", {}, r"features \[\]"),
        ("a,y\n", {}, "got 0 rows"),
        ("", {}, r"got 0 rows with columns \[\]"),
    ],
)  # fmt: skip
def test_read_csv_says_where_it_is_wrong(table, content, options, message):
    path = table(content)
    with pytest.raises(ValueError, match=r"table\.csv.*" + message):
        read_csv(path, target="y", **options)


def test_read_csv_agrees_with_pandas(table):
    pandas = pytest.importorskip("pandas")
    draws = np.random.default_rng(0).standard_normal((40, 5))
    frame = pandas.DataFrame(draws, columns=[*"abcde"]).assign(y=[*"uv"] * 20)
    path = table(frame.to_csv(index=False))
    x, y = read_csv(path, target="y")[:]
    np.testing.assert_array_equal(x, draws.astype(np.float32))
    assert y.tolist() == [0, 1] * 20


# --- words and gaps ------------------------------------------------------------------------

PASSENGERS = """class,sex,age,port,survived
3,male,22,S,no
1,female,,C,yes
3,female,26,,yes
1,male,54, S ,no
"""


def test_words_become_columns_and_gaps_the_mean(table):
    dataset = read_csv(table(PASSENGERS), target="survived", words="one-hot", empty="mean")
    assert dataset.columns == ["class", "sex=female", "sex=male", "age", "port=C", "port=S"]
    x, y = dataset[:]
    mean = (22 + 26 + 54) / 3
    expected = [
        [3, 0, 1, 22, 0, 1],
        [1, 1, 0, mean, 1, 0],
        [3, 1, 0, 26, 0, 0],
        [1, 0, 1, 54, 0, 1],
    ]
    np.testing.assert_array_equal(x, np.float32(expected), strict=True)
    np.testing.assert_array_equal(y, np.int64([0, 1, 1, 0]), strict=True)
    assert isinstance(dataset, ArrayDataset) and dataset.classes == ["no", "yes"]


def test_a_second_file_is_read_like_the_first(table):
    train = read_csv(table(PASSENGERS), target="survived", words="one-hot", empty="mean")
    options = json.loads(json.dumps(train.options))
    assert options == train.options
    test = read_csv(table("survived,port,age,sex,class\nyes,S,,male,\n"), **options)
    assert test.columns == train.columns and test.classes == train.classes
    x, y = test[:]
    np.testing.assert_array_equal(x, np.float32([[2, 0, 1, 34, 0, 1]]))
    assert y.tolist() == [1]
    unknown = table("class,sex,age,port\n2,male,3,C\n")
    (x,) = read_csv(unknown, **options | {"target": None})[:]
    assert x.tolist() == [[2, 0, 1, 3, 1, 0]]
    with pytest.raises(ValueError, match=r"column 'port': expected one of \['C', 'S'\], got 'Q'"):
        read_csv(table("class,sex,age,port\n2,male,3,Q\n"), **options | {"target": None})


def test_what_the_first_file_did_not_allow_the_second_may_not(table):
    train = read_csv(table("a,k,y\n1,u,no\n2,v,yes\n"), target="y", words="one-hot")
    for row in (",u,no", "1,,no"):
        with pytest.raises(ValueError, match=r"line 2, column '[ak]': expected .*, got ''"):
            read_csv(table(f"a,k,y\n{row}\n"), **train.options)


def test_words_and_means_may_be_given(table):
    path = table("class,age,y\n3,,1\n1,4,2.5\n")
    options = {"words": {"class": ("1", "2", "3")}, "empty": {"age": 30}}
    dataset = read_csv(path, target="y", numeric=True, **options)
    assert dataset.columns == ["class=1", "class=2", "class=3", "age"]
    x, y = dataset[:]
    assert x.tolist() == [[0, 0, 1, 30], [1, 0, 0, 4]] and y.tolist() == [1, 2.5]
    assert dataset.options["words"] == {"class": ["1", "2", "3"]}


def test_words_that_mean_nothing(table):
    path = table("a,b,y\n1,red,no\nNA,?,no\n3, NA ,yes\n")
    options = {"target": "y", "words": "one-hot", "empty": "mean", "na_values": ["NA", "?"]}
    train = read_csv(path, **options)
    assert train.arrays[0].tolist() == [[1, 1], [2, 0], [3, 0]]
    assert train.columns == ["a", "b=red"]
    again = read_csv(path, **json.loads(json.dumps(train.options)))
    np.testing.assert_array_equal(again.arrays[0], train.arrays[0])
    with pytest.raises(ValueError, match=r"line 3, column 'a': expected a number, got ''"):
        read_csv(path, target="y", words={"b": ["red"]}, na_values=["NA", "?"])
    with pytest.raises(TypeError, match=r"target is the name of one column, .* \['y'\]"):
        read_csv(path, **options | {"target": ["y"]})


@pytest.mark.parametrize(
    "option, given",
    [
        ("na_values", "NA"),
        ("features", "ab"),
        ("features", [0]),
        ("classes", [0, 1]),
        ("classes", np.arange(2)),
    ],
)
def test_a_list_of_words_is_no_word_and_no_numbers(table, option, given):
    path = table("ab,y\n1,0\n2,1\n")
    with pytest.raises(TypeError, match=rf"{option} is a list of words, .* such as \['0', '1'\]"):
        read_csv(path, **{"target": "y", "numeric": False, option: given})


def test_a_file_without_answers(table):
    (x,) = read_csv(table("a,b\n1,2\n3,4\n"), target=None)[:]
    assert x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("a,y\n1,no\nNA,no\n", {"words": "one-hot"}, "line 3, column 'a': .* number, got 'NA'"),
        ("a,y\nred,no\n", {}, "'a': expected a number, got 'red'; in features words=\"one-hot\""),
        ("a,y\nred,no\n,no\n", {"words": "one-hot"}, "line 3, .*'a': .*one of .*red.*, got ''"),
        ("a,b,y\n,1,no\n", {"empty": "mean"}, "column 'a': no number to take the mean of"),
        ("a,y\nnan,no\n", {"empty": "mean"}, "line 2, column 'a': expected a number, got 'nan'"),
        ("a,y\n,no\n", {"empty": {"a": "x"}}, "line 2, column 'a': expected a number, got ''"),
        ("a,y\n1,\n", {"empty": "mean"}, r"line 2, column 'y': expected one of \[\], got ''"),
        ("a,b,y\n1,2,p\n3,no\n", {"empty": "mean"}, "line 3: fewer cells than the 3 columns"),
        ("a,y\nblue,no\n", {"words": {"a": ["red"]}}, "got 'blue'; read the file first that has"),
        ("a,a,y\n1,2,no\n", {}, r"two columns have one name, in \['a', 'a', 'y'\]"),
    ],
)  # fmt: skip
def test_what_is_still_refused(table, content, options, message):
    with pytest.raises(ValueError, match=r"table\.csv.*" + message):
        read_csv(table(content), target="y", **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"words": "onehot"}, r"words: expected 'error', 'one-hot', or a dict .*\['a'\], got 'one"),
        ({"empty": "zero"}, r"empty: expected 'error', 'mean', or a dict .*\['a'\], got 'zero'"),
        ({"words": {"b": ["1"]}}, r"words: .*features \['a'\], got \{'b': \['1'\]\}"),
        ({"empty": {"y": 0}}, r"empty: .*features \['a'\], got \{'y': 0\}"),
        ({"empty": 0}, r"empty: expected .* got 0"),
    ],
)
def test_options_that_say_nothing(table, options, message):
    with pytest.raises(ValueError, match=message):
        read_csv(table("a,y\n1,no\n"), target="y", **options)


def test_words_and_gaps_agree_with_pandas(table):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "a": np.where(rng.random(40) < 0.3, np.nan, rng.standard_normal(40)),
            "k": rng.choice(["u", "v", "w w", "x,y"], 40),
            "b": rng.integers(0, 9, 40),
        }
    )
    path = table(frame.assign(y=1).to_csv(index=False, quoting=csv.QUOTE_MINIMAL))
    dataset = read_csv(path, target="y", numeric=True, words="one-hot", empty="mean")
    theirs = pandas.get_dummies(frame, prefix_sep="=").fillna({"a": frame["a"].mean()})
    np.testing.assert_allclose(
        dataset.arrays[0], theirs[dataset.columns].to_numpy(np.float32), 1e-6
    )
