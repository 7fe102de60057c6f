"""Tables of a user: read as text, with every mistake said in one sentence."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dnatune.errors import UserError
from dnatune.tables import positions, read_numbers, read_table, repeated, select_rows


@pytest.fixture
def write(tmp_path):
    def make(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def rows(table):
    return table.to_pylist()


def test_text_stays_text(write):
    table = read_table(write('id,label,x\n007,NA,1\n1e5," a, b ",2\nnull,,3\n'), ["id", "label"])
    assert rows(table)[0] == {"id": "007", "label": "NA"}
    assert rows(table)[1] == {"id": "1e5", "label": "a, b"}
    assert rows(table)[2] == {"id": "null", "label": ""}
    assert table.column_names == ["id", "label"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "parquet"])
def test_all_formats_give_the_same(tmp_path, ending):
    frame = pd.DataFrame({"id": ["a", "b"], "label": ["x y", "NA"], "known": [1, 0]})
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert rows(read_table(path, ["id", "known", "label"])) == [
        {"id": "a", "known": "1", "label": "x y"},
        {"id": "b", "known": "0", "label": "NA"},
    ]


def test_a_missing_parquet_cell_is_empty_text(tmp_path):
    pd.DataFrame({"id": ["a", "b"], "label": ["x", None]}).to_parquet(tmp_path / "t.parquet")
    assert rows(read_table(tmp_path / "t.parquet", ["label"])) == [{"label": "x"}, {"label": ""}]


def test_byte_order_mark_and_blanks_in_the_header(write):
    table = read_table(write("\ufeffid , label\na,x\n"), ["id", "label"])
    assert rows(table) == [{"id": "a", "label": "x"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,lable\na,b\n", r"no column 'label' \(did you mean 'lable'\?\); it has: id, lable"),
        ("id,label,label\na,b,c\n", "has the column 'label' twice"),
        ("id,label\n", "has no rows"),
        ("", "is empty"),
        ("id,label\na,b\nc,d,e\n", "cannot be read as a table: .*Expected 2 columns, got 3"),
        ("id,label\na\n", "cannot be read as a table"),
        (gzip.compress(b"id,label\n" + b"a,b\n" * 5000, mtime=0)[:-15], "cannot be read as a table"),
        (b"id,label\na,\xff\xfe\n", "cannot be read as a table"),
    ],
)
def test_tables_that_are_refused(write, content, expected):
    path = write(content)
    with pytest.raises(UserError, match=expected) as caught:
        read_table(path, ["id", "label"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_ending_and_missing_file(write):
    with pytest.raises(UserError, match=r"unknown ending '\.xlsx'"):
        read_table(write("id\na\n", "t.xlsx"), ["id"])
    with pytest.raises(UserError, match="does not exist"):
        read_table("nowhere.csv", ["id"])


def test_selection_compares_text_and_combines_columns():
    table = pa.table({"known": ["1", "0", "1"], "site": ["a", "a", "b"]})
    assert select_rows(table, {"known": [1]}, "t").tolist() == [True, False, True]
    assert select_rows(table, {"known": ["1"], "site": ["a"]}, "t").tolist() == [True, False, False]
    assert select_rows(table, {}, "t").all()
    with pytest.raises(UserError, match=r"asks for 'yes' in column 'known' of t, .*found: 0, 1"):
        select_rows(table, {"known": ["yes"]}, "t")
    with pytest.raises(UserError, match="leaves no row"):
        select_rows(table, {"known": ["0"], "site": ["b"]}, "t")


def test_numbers(write, tmp_path):
    ids, matrix, names = read_numbers(write("v1,id,v2\n1,a,2.5\n-1e-3,b,0\n"), "id")
    assert ids.to_pylist() == ["a", "b"]
    assert names == ["v1", "v2"]
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, [[1, 2.5], [-1e-3, 0]], rtol=1e-6)
    pd.DataFrame({"id": ["a"], "v": [0.1]}).to_parquet(tmp_path / "v.parquet")
    assert read_numbers(tmp_path / "v.parquet", "id")[1][0, 0] == np.float32(0.1)


@pytest.mark.parametrize("cell", ["nan", "", "x", "inf", "1e300"])
def test_a_cell_without_a_finite_number(write, cell):
    with pytest.raises(UserError, match=r"no number in column 'v2' for id 'b' \(row 2\)"):
        read_numbers(write(f"id,v1,v2\na,1,2\nb,3,{cell}\n"), "id", "vectors table")


def test_vectors_without_numbers(write):
    with pytest.raises(UserError, match="only the column 'id'"):
        read_numbers(write("id\na\n"), "id")


def test_repeats_and_positions():
    assert repeated(pa.array(["a", "b", "a", "a"])).tolist() == [False, False, True, True]
    assert positions(pa.array(["b", "x", "a"]), pa.array(["a", "b"])).tolist() == [1, -1, 0]
