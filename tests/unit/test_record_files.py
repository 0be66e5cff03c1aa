"""Records in JSON, YAML and XML files: lists, nested lists, what is no record, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, Rejected
from ingest.source import FieldMap, open_source
from ingest.source.read_options import ReadOptions
from ingest.source.reading_report import report_of

PAIR = [{"id": 1, "text": "Refunds take a week.", "year": 2020}, {"id": "b", "text": "Keys are at the desk.", "zip": "01067"}]

FEED = """<?xml version="1.0"?>
<rss xmlns:dc="http://purl.org/dc/elements/1.1/" version="2.0"><channel><title>News</title>
  <item id="1"><title lang="en">One</title><text>Refunds <b>take</b> a week.</text><tag>a</tag><tag>b</tag></item>
  <item><id>b</id><dc:text><![CDATA[Keys & coats.]]></dc:text><link href="https://x.test/2"/><empty/></item>
</channel></rss>"""


def read(path: Path, content: str | bytes, records: str | None = None, **options: Any) -> list[Document | Rejected]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(open_source(path, options=ReadOptions(records=records), **options).read())


def facts(items: list[Document | Rejected]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(item.id, item.text, dict(item.metadata)) for item in items if isinstance(item, Document)]


EXPECTED = [("1", "Refunds take a week.", {"year": 2020}), ("b", "Keys are at the desk.", {"zip": "01067"})]
YAML_LIST = "- {id: 1, text: Refunds take a week., year: 2020}\n- id: b\n  text: Keys are at the desk.\n  zip: 01067\n"
YAML_NESTED = """data:
  items:
    - {id: 1, text: Refunds take a week., year: 2020}
    - {id: b, text: Keys are at the desk., zip: 01067}
"""
YAML_DOCUMENTS = "id: 1\ntext: Refunds take a week.\nyear: 2020\n---\nid: b\ntext: Keys are at the desk.\nzip: 01067\n"


@pytest.mark.parametrize(
    ("name", "content", "records"),
    [
        ("a.json", json.dumps(PAIR), None),
        ("a.json", "\ufeff" + json.dumps(PAIR), None),
        ("a.json", json.dumps({"data": {"items": PAIR}, "next": None}), "data.items"),
        ("a.json", json.dumps({"pages": [{"items": PAIR[:1]}, {"items": PAIR[1:]}, {}]}), "pages.items"),
        ("a.yaml", YAML_LIST, None),
        ("a.yml", YAML_DOCUMENTS, None),
        ("a.yaml", YAML_NESTED, "data.items"),
    ],
)
def test_each_item_of_the_list_is_a_record(tmp_path: Path, name: str, content: str, records: str | None) -> None:
    assert facts(read(tmp_path / name, content, records)) == EXPECTED


def test_an_object_with_a_text_is_one_record(tmp_path: Path) -> None:
    assert facts(read(tmp_path / "a.json", json.dumps(PAIR[0]))) == EXPECTED[:1]
    assert facts(read(tmp_path / "a.json", json.dumps(PAIR).encode("utf-16"))) == EXPECTED


def test_elements_are_records_with_attributes_and_elements_as_fields(tmp_path: Path) -> None:
    assert facts(read(tmp_path / "feed.xml", FEED, "channel.item")) == [
        ("1", "Refunds take a week.", {"title@lang": "en", "tag": ["a", "b"]}),
        ("b", "Keys & coats.", {"link": {"href": "https://x.test/2"}, "empty": None}),
    ]
    latin = '<?xml version="1.0" encoding="iso-8859-1"?><r><d id="1">Größe <i>M</i></d></r>'.encode("latin-1")
    assert facts(read(tmp_path / "latin.xml", latin, "d")) == [("1", "Größe M", {})]
    assert facts(read(tmp_path / "feed.xml", FEED))[0][0] == "feed.xml", "without --records it is one document"


def test_xml_is_read_record_by_record(tmp_path: Path) -> None:
    many = "".join(f"<d id='{n}'><text>{'word ' * 200}{n}</text></d>" for n in range(500))
    items = read(tmp_path / "many.xml", f"<r>{many}</r>", "d", max_record_bytes=150_000)
    assert [item.id for item in items if isinstance(item, Document)] == [str(n) for n in range(500)]


def test_a_bad_record_is_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    items = read(tmp_path / "a.json", json.dumps([PAIR[0], {"id": "x"}, "text", None, PAIR[1]]))
    assert facts(items) == EXPECTED
    reasons = [(item.position.rpartition(": ")[2], item.reason) for item in items if isinstance(item, Rejected)]
    assert [position for position, _ in reasons] == ["record 2", "record 3", "record 4"]
    assert [reason.startswith(("there is no text", "the record is")) for _, reason in reasons] == [True] * 3


def test_numbers_that_json_does_not_have_are_null_or_rejected(tmp_path: Path) -> None:
    nan, infinity = read(tmp_path / "a.json", '[{"text": "one", "x": NaN}, {"text": "two", "x": Infinity}]')
    assert isinstance(nan, Document)
    assert nan.metadata == {"x": None}
    assert isinstance(infinity, Rejected)


def test_a_named_character_is_read_although_the_file_does_not_declare_it(tmp_path: Path) -> None:
    [record] = read(tmp_path / "a.xml", "<r><d><text>5&nbsp;&euro; &odd;</text></d></r>", records="d")
    assert isinstance(record, Document)
    assert record.text == "5\xa0€ &odd;"


BOMB = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("name", "content", "records", "message"),
    [
        ("a.json", "[" * 100_000, None, "nested too deeply"),
        ("a.json", '[{"text": "a", "text": "b"}]', None, "the name 'text' is there twice"),
        ("a.json", '[{"text": "a"},', None, "the file is not json: Expecting value"),
        ("a.json", '[{"text": "a", "n": ' + "9" * 5_000 + "}]", None, "the file is not json"),
        ("a.json", b'[{"text": "\xff"}]', None, "not UTF-8"),
        ("a.json", "[" + " " * 2_000 + "]", None, "larger than 1,500 bytes"),
        ("a.json", '{"name": "app", "version": "1"}', None, "no records with a text: --records names the list"),
        ("a.json", "[1, 2]", None, "no records with a text"),
        ("a.json", '{"data": {"rows": []}}', "data.items", r"data has no items \(it has rows\)"),
        ("a.yaml", "[" * 700, None, "nested too deeply"),
        ("a.yaml", BOMB, None, r"aliases, such as \*a"),
        ("a.yaml", "text: a\ntext: b\n", None, "the name 'text' is there twice"),
        ("a.yaml", "text: [", None, "the file is not yaml"),
        ("a.yaml", "a: 1\nb: !Ref x\n", None, "no records with a text"),
        ("a.xml", '<!DOCTYPE r [<!ENTITY a "b">]><r><d/></r>', "d", "declares entities"),
        ("a.xml", "<r><d>", "d", "cannot be read as XML"),
        ("a.xml", "<r><e/><f/></r>", "d", r"no element is at d below the root \(the elements there: e, f\)"),
        ("a.xml", "<r>" + "<d>" * 1_200, "d", "nested too deeply|no complete record"),
        ("a.xml", f"<r><d>{'x' * 3_000_000}</d></r>", "d", "no complete record"),
    ],
)
def test_a_hostile_or_malformed_file_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: str | bytes, records: str | None, message: str
) -> None:
    large = 10**6 if "nested" in message or 'n": ' in str(content) else 1_500
    with pytest.raises(SourceError, match=message) as alone:
        read(tmp_path / name, content, records, max_record_bytes=large)
    assert "\n" not in str(alone.value)
    (tmp_path / "b.jsonl").write_text('{"id": "b", "text": "good"}\n')
    source = open_source(tmp_path, options=ReadOptions(records=records), max_record_bytes=large)
    items = list(source.read())
    assert [item.id for item in items if isinstance(item, Document)] == ["b.jsonl//b"], "the others are read"
    skipped = "no records" in message
    assert len([item for item in items if isinstance(item, Rejected)]) == (0 if skipped else 1)
    assert dict(report_of(source).skipped) == ({Path(name).suffix: 1} if skipped else {})


def test_a_file_that_was_called_records_is_never_skipped(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "app"}')
    [named] = open_source(tmp_path, options=ReadOptions(records="name")).read()
    assert isinstance(named, Rejected)
    [mapped] = open_source(tmp_path, fields=FieldMap(text="name")).read()
    assert isinstance(mapped, Document)


@pytest.mark.parametrize("records", ["", ".", "a..b", "a.", 3])
def test_a_path_has_names(records: Any) -> None:
    with pytest.raises(ConfigurationError, match="records"):
        ReadOptions(records=records)


def test_a_path_is_for_files_that_nest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nx\n")
    with pytest.raises(ConfigurationError, match="--records is for JSON, YAML and XML"):
        open_source(tmp_path / "a.csv", options=ReadOptions(records="data"))
