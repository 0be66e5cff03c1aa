"""The output of Singer taps and Airbyte sources."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.collection import Collection
from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, Rejected
from ingest.source import FieldMap, open_source
from ingest.source.reading_report import report_of

SCHEMA = {"type": "SCHEMA", "stream": "pages", "schema": {}, "key_properties": ["key"]}
STATE = {"type": "STATE", "value": {}}

Item = Document | Rejected


def record(
    key: object, text: str = "A page.", *, stream: str = "pages", version: int | None = None, **more: Any
) -> dict[str, Any]:
    versioned = {} if version is None else {"version": version}
    return {"type": "RECORD", "stream": stream, "record": {"key": key, "text": text, **more}, **versioned}


def airbyte(data: dict[str, Any], stream: str = "pages", **more: Any) -> dict[str, Any]:
    return {"type": "RECORD", "record": {"stream": stream, "data": data, "emitted_at": 1, **more}}


def catalog(*streams: dict[str, Any]) -> dict[str, Any]:
    return {"type": "CATALOG", "catalog": {"streams": list(streams)}}


def status(text: str, stream: str = "pages") -> dict[str, Any]:
    about = {"stream_descriptor": {"name": stream}, "status": text}
    return {"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1, "stream_status": about}}


def write(path: Path, messages: Sequence[dict[str, Any] | str]) -> Path:
    lines = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read(folder: Path, messages: Sequence[dict[str, Any] | str], name: str = "singer", **options: Any) -> list[Item]:
    return list(open_source(write(folder / "out", messages), format=name, **options).read())


def ids(items: list[Item]) -> list[str | None]:
    return [item.id if isinstance(item, Document) else item.doc_id for item in items]


def test_the_output_of_a_tap(tmp_path: Path) -> None:
    orders = {"type": "SCHEMA", "stream": "a/b", "schema": {}, "key_properties": ["key", "line"]}
    messages = [
        SCHEMA,
        record(1, title="Home", lang="en", _sdc_deleted_at=None),
        STATE,
        orders,
        record("x/1", "An order.", stream="a/b", line=2.5, stream_field=True),
        STATE,
    ]
    assert read(tmp_path, messages) == [
        Document("pages/1", "A page.", "Home", {"stream": "pages", "key": 1, "lang": "en"}, position=f"{tmp_path}/out:2"),
        Document(
            "a%2Fb/x%2F1/2.5",
            "An order.",
            metadata={"stream": "a/b", "key": "x/1", "line": 2.5, "stream_field": True},
            position=f"{tmp_path}/out:5",
        ),
    ]


def test_fields_are_mapped_and_records_without_a_key_have_the_usual_ids(tmp_path: Path) -> None:
    keyless = {**SCHEMA, "key_properties": []}
    row = {"type": "RECORD", "stream": "pages", "record": {"id": 7, "sku": "s", "body": "Text.", "stream": "own"}}
    fields = FieldMap(text="body", metadata=("stream",))
    assert read(tmp_path, [keyless, row, STATE], fields=fields) == [
        Document("pages/7", "Text.", metadata={"stream": "own"}, position=f"{tmp_path}/out:2")
    ]
    assert ids(read(tmp_path, [SCHEMA, row, STATE], fields=FieldMap(id="sku", text="body"))) == ["pages/s"]


def test_the_last_version_of_a_record_counts(tmp_path: Path) -> None:
    messages = [
        SCHEMA,
        record(1, "Old."),
        record(2),
        record(3, "Good."),
        record(1, "New."),
        record(2, _sdc_deleted_at="2026-01-01T00:00:00Z"),
        record(3, " "),
        STATE,
    ]
    source = open_source(write(tmp_path / "out", messages), format="singer")
    rejected, page = list(source.read())
    assert isinstance(rejected, Rejected)
    assert (rejected.doc_id, rejected.reason) == ("pages/3", "the text is empty")
    assert isinstance(page, Document)
    assert (page.id, page.text) == ("pages/1", "New.")
    assert report_of(source).notes == [
        f"{tmp_path}/out: 1 records are marked as deleted and were left out (deleted by full alone)"
    ]


@pytest.mark.parametrize("last", [2, 2**64 + 2])
def test_an_activated_version_of_a_table_replaces_the_others(tmp_path: Path, last: int) -> None:
    users = {**SCHEMA, "stream": "users"}
    messages = [
        *(SCHEMA, users, record(1, version=1), record(2), record(3, version=last), record(9, stream="users", version=1)),
        {"type": "ACTIVATE_VERSION", "stream": "pages", "version": last},
    ]
    assert ids(read(tmp_path, messages)) == ["pages/3", "users/9"]


def test_the_output_of_an_airbyte_source(tmp_path: Path) -> None:
    nested = {"name": "pages", "namespace": "web", "source_defined_primary_key": [["id"], ["site", "name"]]}
    configured = {"stream": {"name": "users", "source_defined_primary_key": [["id"]]}, "primary_key": [["mail"]]}
    messages = [
        {"type": "LOG", "log": {"level": "INFO", "message": "starting"}},
        catalog(nested, configured),
        status("STARTED"),
        airbyte({"id": 1, "site": {"name": "a"}, "text": "A page."}, namespace="web"),
        airbyte({"id": 1, "mail": "m", "text": "A user.", "_ab_cdc_deleted_at": None}, "users"),
        airbyte({"id": 2, "mail": "n", "text": "Gone.", "_ab_cdc_deleted_at": "2026-01-01"}, "users"),
        airbyte({"id": 5, "text": "A note."}, "notes"),
        {"type": "STATE", "state": {"type": "STREAM"}},
        status("COMPLETE"),
    ]
    first, *others = read(tmp_path, messages, "airbyte")
    assert first == Document(
        "web:pages/1/a",
        "A page.",
        metadata={"stream": "pages", "namespace": "web", "id": 1, "site": {"name": "a"}},
        position=f"{tmp_path}/out:4",
    )
    assert ids(others) == ["users/m", "notes/5"]


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("singer", '{"type": "RECORD", "stre', "the line is not JSON"),
        ("singer", "INFO starting", "the line is not JSON"),
        ("singer", '"RECORD"', "the message has no type"),
        ("singer", '{"id": 1, "text": "A line."}', "the message has no type"),
        ("singer", '{"type": "RECORD", "stream": "users", "record": {}}', "before the SCHEMA of its stream users"),
        ("singer", '{"type": "RECORD", "stream": "pages", "record": [1]}', "the message has no record"),
        ("singer", '{"type": "RECORD", "stream": "pages", "record": {"text": "a"}}', "no value for key of its key"),
        ("singer", '{"type": "RECORD", "stream": "pages", "record": {"key": null}}', "no value for key of its key"),
        ("singer", '{"type": "SCHEMA", "stream": "x", "key_properties": "id"}', "not a list of names"),
        ("singer", '{"type": "BATCH", "stream": "pages"}', "configure the tap without batches"),
        ("airbyte", '{"type": "RECORD", "stream": "pages", "record": {}}', "the message has no stream"),
        ("airbyte", '{"type": "SCHEMA"}', "no Airbyte source sends one"),
        ("airbyte", '{"type": "CATALOG", "catalog": {"streams": [1]}}', "is behind records"),
    ],
)
def test_a_line_that_cannot_be_used_is_a_reject(name: str, line: str, reason: str, tmp_path: Path) -> None:
    good = [SCHEMA, record(1)] if name == "singer" else [airbyte({"id": 1, "text": "A page."}), status("COMPLETE")]
    rejected, page = read(tmp_path, [*good, line, STATE], name)
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason
    assert rejected.position == f"{tmp_path}/out:3"
    assert rejected.unidentified
    assert ids([page]) == ["pages/1"]


@pytest.mark.parametrize(
    ("name", "whole", "broken"),
    [
        ("singer", [SCHEMA, record(1), record(2), STATE], [SCHEMA, record(1)]),
        (
            "airbyte",
            [airbyte({"id": number, "text": "A page."}) for number in (1, 2)] + [status("COMPLETE")],
            [status("STARTED"), airbyte({"id": 1, "text": "A page."})],
        ),
        ("airbyte", [airbyte({"id": 1, "text": "A page."}), airbyte({"id": 2, "text": "A page."}), STATE], [airbyte({"id": 1})]),
    ],
    ids=["singer", "status", "state"],
)
def test_nothing_is_deleted_if_the_program_broke_off(
    name: str, whole: list[dict[str, Any]], broken: list[dict[str, Any]], tmp_path: Path
) -> None:
    with Collection("pages", store=tmp_path / "store", models=["bm25"], state=tmp_path) as pages:

        def sync(messages: list[dict[str, Any]]) -> Any:
            return pages.sync(open_source(write(tmp_path / "out", messages), format=name, name="pages"), delete="full")

        assert sync(whole).written == 2
        receipt = sync(broken)
        assert (receipt.rejected > 0, receipt.deleted, pages.info().points) == (True, 0, 2)
        assert sync([message for message in whole if "2" not in json.dumps(message)]).deleted == 1


def test_an_error_of_an_airbyte_source_is_an_error_of_the_run(tmp_path: Path) -> None:
    error = {
        "type": "TRACE",
        "trace": {"type": "ERROR", "emitted_at": 1, "error": {"message": "token\nexpired at https://me:pw@a.example/x"}},
    }
    with pytest.raises(SourceError, match="the Airbyte source failed: token expired"):
        read(tmp_path, [airbyte({"id": 1, "text": "A page."}), error, status("COMPLETE")], "airbyte")


def test_the_outputs_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.out", [SCHEMA, record(1), STATE])
    write(tmp_path / "b.out", [SCHEMA, record(1), STATE])
    items = list(open_source(tmp_path, format="singer").read())
    assert ids(items) == ["a.out//pages/1", "b.out//pages/1"]


def test_an_unknown_format_lists_both() -> None:
    with pytest.raises(ConfigurationError, match="singer, airbyte"):
        open_source("-", format="tap")
