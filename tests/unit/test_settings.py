"""Settings: the order of sources, and errors that name the key."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ingest.errors import ConfigurationError
from ingest.settings import load_settings, share_or_number


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_command_line_beats_environment_beats_file_beats_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ingest.toml").write_text('dense = ["file"]\nsparse = ["file"]\nstore = "file"\n')
    monkeypatch.setenv("INGEST_DENSE", "environment,two")
    monkeypatch.setenv("INGEST_SPARSE", "environment")
    settings = load_settings({"dense": "command"})
    assert (settings.dense, settings.sparse, settings.store, settings.timeout) == (["command"], ["environment"], "file", 60.0)


def test_tables_are_merged_over_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ingest.toml").write_text("[layout]\nhnsw_m = 8\nshards = 2\n")
    monkeypatch.setenv("INGEST_LAYOUT__SHARDS", "3")
    layout = load_settings({"layout": {"replicas": 4}}).layout
    assert (layout.hnsw_m, layout.shards, layout.replicas) == (8, 3, 4)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("densee = ['x']", "unknown setting densee: did you mean dense?"),
        ("[layout]\nhnsw_mm = 3", "unknown setting layout.hnsw_mm: did you mean hnsw_m?"),
        ("chunk_overlap = 0.9", "the setting chunk_overlap is wrong: "),
        ("timeout = 'soon'", "the setting timeout is wrong: "),
        ("[[[", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_error(toml: str, message: str) -> None:
    Path("ingest.toml").write_text(toml)
    with pytest.raises(ConfigurationError) as raised:
        load_settings({})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_variable_is_an_error_that_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SPARS", "x")
    with pytest.raises(ConfigurationError, match="did you mean INGEST_SPARSE"):
        load_settings({})


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read"):
        load_settings({}, Path("nowhere.toml"))


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_API_KEY", "hunter2")
    settings = load_settings({})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{settings!r}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("text", "expected"), [("20%", (0.2, math.inf)), ("0%", (0.0, math.inf)), ("50", (math.inf, 50.0)), ("0", (math.inf, 0.0))]
)
def test_shares_and_numbers(text: str, expected: tuple[float, float]) -> None:
    assert share_or_number(text) == expected


@pytest.mark.parametrize("text", ["", "%", "-1", "101%", "-1%", "nan%", "1.5", "many"])
def test_neither_a_share_nor_a_number(text: str) -> None:
    with pytest.raises(ConfigurationError):
        share_or_number(text)
