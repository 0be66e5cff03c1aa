"""Settings: the order of sources, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import ConfigurationError
from ingest.settings import load_settings


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
        ("timeout = true", "the setting timeout is wrong: true is not allowed here"),
        ("[layout]\nhnsw_m = true", "the setting layout.hnsw_m is wrong: true is not allowed here"),
        (
            "[jobs.j]\nsource = 'a'\ncollection = 'c'\nworkers = true",
            "the setting jobs.j.workers is wrong: true is not allowed here",
        ),
        ("weights.bm25 = nan", "the setting weights.bm25 is wrong: nan is not a weight: it must be a positive, finite number"),
        ("weights.bm25 = true", "the setting weights.bm25 is wrong: True is not a weight"),
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
    ("name", "given", "message"),
    [
        ("max_delete", "50", "'50' is not a share from 0% to 100%: write 50%"),
        ("max_delete", "0.2", "'0.2' is not a share from 0% to 100%: write 20%"),
        ("max_delete", "lots", "'lots' is not a share from 0% to 100%: write, say, 20%"),
        ("delete_after", "7", "'7' has no unit: write 7s (seconds), 7m (minutes), 7h (hours) or 7d (days)"),
        ("delete_after", "7x", "'7x' is not a duration: write, say, 90s, 15m, 6h or 30d"),
        ("daemon_grace", "600", "'600' has no unit"),
        ("max_rejects", "1.5", "'1.5' is neither a share from 0% to 100% nor a number from 0: write, say, 20% or 50"),
    ],
)
def test_a_bare_number_is_never_guessed_at(monkeypatch: pytest.MonkeyPatch, name: str, given: str, message: str) -> None:
    """On the command line, in the environment and in the file alike, and the message says what to write."""
    for toml, variable, overrides in (("", given, {}), (f"{name} = '{given}'", None, {}), ("", None, {name: given})):
        Path("ingest.toml").write_text(toml)
        with monkeypatch.context() as environment:
            if variable:
                environment.setenv(f"INGEST_{name.upper()}", variable)
            with pytest.raises(ConfigurationError) as raised:
                load_settings(overrides)
        assert f"the setting {name} is wrong: {message}" in str(raised.value)


@pytest.mark.parametrize(
    ("written", "share", "number"),
    [("'29%'", "29%", "29%"), ("0.29", "29%", "29%"), ("'12.5 %'", "12.5%", "12.5%"), ("0", "0%", "0"), ("'0'", "0%", "0")],
)
def test_shares_are_kept_as_they_are_meant(written: str, share: str, number: str) -> None:
    Path("ingest.toml").write_text(f"max_delete = {written}\nmax_rejects = {written}\n")
    settings = load_settings({})
    assert (settings.max_delete, settings.max_rejects) == (share, number)
