"""CSV: its delimiter, encoding, header and the types of its columns are found, or as the options say."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, Rejected
from ingest.source import FieldMap, open_source
from ingest.source.column_types import guess_type, typed
from ingest.source.csv_tables import _SAMPLE_ROWS
from ingest.source.read_options import ReadOptions
from ingest.source.reading_report import ReadingReport, report_of


def read(path: Path, data: str | bytes, **options: Any) -> tuple[list[Document | Rejected], ReadingReport]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    fields = options.pop("fields", FieldMap())
    source = open_source(path, fields=fields, options=ReadOptions(**options))
    return list(source.read()), report_of(source)


def documents(items: list[Document | Rejected]) -> list[Document]:
    assert all(isinstance(item, Document) for item in items), items
    return [item for item in items if isinstance(item, Document)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_the_delimiter_is_the_one_with_which_the_header_has_a_text(tmp_path: Path, suffix: str, delimiter: str) -> None:
    rows = [["id", "size", "text"], ["1", "M", "a; b, c | d"], ["2", "L", "e"]]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    found = documents(read(tmp_path / f"a.{suffix}", file.getvalue())[0])
    assert [(each.id, each.text, each.metadata) for each in found] == [
        ("1", "a; b, c | d", {"size": "M"}),
        ("2", "e", {"size": "L"}),
    ]


def test_a_text_alone_is_not_cut_at_the_delimiters_in_it(tmp_path: Path) -> None:
    found = documents(read(tmp_path / "a.csv", "text\nfirst; second\nthird|fourth\n")[0])
    assert [each.text for each in found] == ["first; second", "third|fourth"]


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "\ufeffSEP=;\n"])
def test_the_line_that_tells_excel_the_delimiter_is_no_header(tmp_path: Path, first: str) -> None:
    (found,) = documents(read(tmp_path / "a.csv", f"{first}id;text;year\n1;a, b;1999\n")[0])
    assert (found.id, found.text, found.metadata) == ("1", "a, b", {"year": 1999})
    assert found.position.endswith(":3")


@pytest.mark.parametrize(
    ("encoding", "guessed"),
    [("cp1252", True), ("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("utf-16-le", False), ("utf-16-be", False)],
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, guessed: bool) -> None:
    text = "id;Größe;text\r\n1;L;Rückgabe für 7 Tage\r\n2;M;Straße\r\n"
    items, report = read(tmp_path / "a.csv", text.encode(encoding))
    assert [(each.text, each.metadata) for each in documents(items)] == [
        ("Rückgabe für 7 Tage", {"Größe": "L"}),
        ("Straße", {"Größe": "M"}),
    ]
    assert any("which was guessed" in note for note in report.notes) is guessed


@pytest.mark.parametrize("encoding", ["gb18030", "cp932", "cp437", "utf-32"])
def test_an_encoding_that_is_given_is_taken(tmp_path: Path, encoding: str) -> None:
    text = {"gb18030": "包裹三天内送达", "cp932": "返品は十四日", "cp437": "Größe", "utf-32": "☃"}[encoding]
    (found,) = documents(read(tmp_path / "a.csv", f"id,text\n1,{text}\n".encode(encoding), encoding=encoding)[0])
    assert found.text == text


def test_bytes_that_are_not_in_the_given_encoding_reject_their_row(tmp_path: Path) -> None:
    data = b"id,text\n1,ok\n2,\xff\xff\n" + "3,返品\n".encode("euc_jp")
    first, bad, last = read(tmp_path / "a.csv", data, encoding="euc_jp")[0]
    assert isinstance(first, Document)
    assert isinstance(bad, Rejected)
    assert bad.reason.startswith("the text is not valid Unicode")
    assert isinstance(last, Document)
    assert last.text == "返品"


def test_utf8_with_one_damaged_byte_stays_utf8(tmp_path: Path) -> None:
    first, bad, last = read(tmp_path / "a.csv", b"id,text\n1,\xc3\xbcber\n2,x\xffy\n3,f\xc3\xbcr\n")[0]
    assert isinstance(first, Document)
    assert first.text == "über"
    assert isinstance(bad, Rejected)
    assert isinstance(last, Document)


def test_lines_that_end_with_carriage_returns_alone(tmp_path: Path) -> None:
    found = documents(read(tmp_path / "a.csv", "id,text\r1,one\r2,two\r")[0])
    assert [(each.id, each.text) for each in found] == [("1", "one"), ("2", "two")]


def test_a_file_without_a_header(tmp_path: Path) -> None:
    items, _ = read(tmp_path / "a.csv", "7;first;2020\n8;second\n9;third;2021\n", columns=("id", "text", "year"))
    first, bad, last = items
    assert isinstance(first, Document)
    assert (first.id, first.text, first.metadata) == ("7", "first", {"year": 2020})
    assert isinstance(bad, Rejected)
    assert bad.reason == "the row has 2 fields and 3 columns are named"
    assert isinstance(last, Document)


def test_fields_are_found_in_any_case_and_texts_are_joined(tmp_path: Path) -> None:
    (found,) = documents(read(tmp_path / "a.csv", "ID,Title,Text\n1,Head,body\n")[0])
    assert (found.id, found.title, found.text) == ("1", "Head", "body")
    data = "sku,question,answer,note,lang\n1,Why?,Because.,,en\n2,How?,,x,de\n"
    fields = FieldMap(id="sku", text=("question", "answer"), metadata=("lang",))
    found, other = documents(read(tmp_path / "b.csv", data, fields=fields)[0])
    assert (found.id, found.text, found.metadata) == ("1", "Why?\n\nBecause.", {"lang": "en"})
    assert other.text == "How?"


def test_columns_without_a_name_are_numbered(tmp_path: Path) -> None:
    (found,) = documents(read(tmp_path / "a.csv", ",text,\n0,a,b\n")[0])
    assert found.metadata == {"column_1": 0, "column_3": "b"}


def test_types_are_those_of_every_value(tmp_path: Path) -> None:
    data = (
        "id,text,year,zip,price,share,sku,big,on,day,at,mixed,none\n"
        "01,a,2020,01067,9.50,1e-05,1E5,9223372036854775807,true,2024-01-15,2024-01-15 10:00,1,\n"
        "02,b,-3,1067,12,0.25,1E6,-9223372036854775808,FALSE,2024-02-29,2024-02-15T10:00:30Z,NA,\n"
    )
    items, report = read(tmp_path / "a.csv", data)
    first, second = documents(items)
    assert (first.id, first.metadata, second.metadata) == (
        "01",
        {
            "year": 2020,
            "zip": "01067",
            "price": 9.5,
            "share": 1e-05,
            "sku": "1E5",
            "big": 2**63 - 1,
            "on": True,
            "day": "2024-01-15",
            "at": "2024-01-15T10:00:00",
            "mixed": "1",
            "none": "",
        },
        {
            "year": -3,
            "zip": "1067",
            "price": 12,
            "share": 0.25,
            "sku": "1E6",
            "big": -(2**63),
            "on": False,
            "day": "2024-02-29",
            "at": "2024-02-15T10:00:30+00:00",
            "mixed": "NA",
            "none": "",
        },
    )
    assert report.types == {
        "year": "integer",
        "zip": "text",
        "price": "number",
        "share": "number",
        "sku": "text",
        "big": "integer",
        "on": "boolean",
        "day": "date",
        "at": "date",
        "mixed": "text",
        "none": "text",
    }


@pytest.mark.parametrize(
    "value",
    ["007", "+4930", "1,5", "1_000", "1e5", "0x10", "NaN", "inf", "-0", "٣", "0.1234567890123456789", "1.", "1 000", "10%"],
)
def test_codes_and_what_no_number_holds_stay_text(value: str) -> None:
    assert guess_type([value]) == "text"


@pytest.mark.parametrize("value", ["2024-02-30", "2024-13-01", "15.02.2024", "02/15/2024", "20240215", "2024-02-15 25:00"])
def test_dates_that_are_ambiguous_or_do_not_exist_stay_text(value: str) -> None:
    assert guess_type([value]) in {"text", "integer"}


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr))))
def test_a_number_is_the_number_that_was_written(values: list[str]) -> None:
    kind = guess_type(values)
    assert all(typed(value, kind) == (float(value) if "." in value or "e" in value else int(value)) for value in values) or (
        kind == "text"
    )


def test_a_later_value_that_breaks_the_type_stays_the_text_it_is(tmp_path: Path) -> None:
    rows = "".join(f"{number},t,{number + 10_000}\n" for number in range(_SAMPLE_ROWS))
    items, report = read(tmp_path / "a.csv", f"id,text,zip\n{rows}last,t,01067\n")
    found = documents(items)
    assert found[0].metadata == {"zip": 10_000}
    assert found[-1].metadata == {"zip": "01067"}
    (note,) = report.notes
    assert note.startswith("1 values of the column zip")
    assert "'01067' at" in note


def test_types_that_are_given_are_taken(tmp_path: Path) -> None:
    data = "id,text,sku,year,on\n1,a,100,2020,yes\n2,b,200,n/a,0\n"
    items, report = read(tmp_path / "a.csv", data, types={"sku": "text", "year": "integer", "on": "boolean"})
    assert [each.metadata for each in documents(items)] == [
        {"sku": "100", "year": 2020, "on": True},
        {"sku": "200", "year": "n/a", "on": False},
    ]
    assert report.types == {"sku": "text", "year": "integer", "on": "boolean"}
    assert len(report.notes) == 1


def test_columns_of_different_types_in_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,year\n1,a,2020\n")
    (tmp_path / "b.csv").write_text("id,text,year\n1,a,unknown\n")
    (tmp_path / "c.xyz").write_text("?")
    (tmp_path / "LICENSE").write_text("?")
    source = open_source(tmp_path)
    assert len(documents(list(source.read()))) == 2
    assert report_of(source).types == {"year": "integer or text"}
    assert report_of(source).skipped == {".xyz": 1, "LICENSE": 1}
    assert len(documents(list(source.read()))) == 2
    assert report_of(source).skipped == {".xyz": 1, "LICENSE": 1}


@pytest.mark.parametrize(
    ("option", "value"),
    [("encoding", "klingon"), ("encoding", "base64"), ("delimiter", ";;"), ("delimiter", '"'), ("types", {"a": "float"})],
)
def test_options_that_cannot_be(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"ReadOptions.{option}"):
        ReadOptions(**{option: value})


def test_a_file_without_text_names_the_columns_it_has(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="its columns: a, b, c"):
        read(tmp_path / "a.csv", "a;b;c\n1;2;3\n")


def test_blank_cells_behind_the_last_column_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,year\n1,one,2020,\n2,two,2021,,\n3,three,2022,more\n")
    one, two, more = open_source(tmp_path / "a.csv").read()
    assert isinstance(one, Document)
    assert isinstance(two, Document)
    assert [one.metadata, two.metadata] == [{"year": 2020}, {"year": 2021}]
    assert isinstance(more, Rejected)


def test_spaces_behind_delimiters_belong_to_them_where_the_header_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id, text, note\n1, "hello, you", x\n2, plain, y\n')
    (tmp_path / "b.csv").write_text("id,text\n1, indented\n")
    found = [each for each in open_source(tmp_path).read() if isinstance(each, Document)]
    assert [each.text for each in found] == ["hello, you", "plain", " indented"]
    assert [each.metadata for each in found] == [{"note": "x"}, {"note": "y"}, {}]
