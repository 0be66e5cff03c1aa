"""`[jobs.NAME]`: what a job says goes before what is said outside it, and every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError
from ingest.run_settings import RunSettings
from ingest.settings import Settings, job_settings, load_settings

JOB = '[jobs.nightly]\nsource = "a"\ncollection = "c"\n'


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def load(toml: str) -> Settings:
    Path("ingest.toml").write_text(toml)
    return load_settings({})


def test_what_a_job_says_goes_before_what_is_said_outside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_DELETE", "none")
    settings = load(f'dense = ["outside"]\nsparse = "s"\nchunk_tokens = 99\n{JOB}dense = "one, two"\ndelete = "full"\n')
    own = job_settings(settings, "nightly")
    assert (own.dense, own.sparse, own.delete, own.chunk_tokens) == (["one", "two"], ["s"], "full", 99)
    assert (settings.dense, settings.delete) == (["outside"], "none")


def test_tables_of_a_job_are_merged_with_those_outside() -> None:
    settings = load(f'[layout]\nhnsw_m = 8\nshards = 2\n[fields]\nid = "sku"\n{JOB}layout.shards = 3\nfields.text = "body"\n')
    own = job_settings(settings, "nightly")
    assert (own.layout.hnsw_m, own.layout.shards, own.layout.replicas) == (8, 3, 1)
    assert (own.fields.id, own.fields.text) == ("sku", ["body"])


def test_weights_of_models_that_a_job_does_not_run_are_not_its_own() -> None:
    settings = load(f'dense = ["a", "b"]\n[weights]\na = 2\nb = 3\nbm25 = 4\n{JOB}dense = ["b"]\nweights.b = 5\n')
    assert job_settings(settings, "nightly").weights == {"b": 5.0, "bm25": 4.0}
    mistaken = load(f'{JOB}dense = ["b"]\nweights.bb = 5\n')
    assert job_settings(mistaken, "nightly").weights == {"bb": 5.0}, "the job's own mistake is still found"


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "dense": st.lists(st.sampled_from(["a", "b"]), unique=True),
        "delete": st.sampled_from(["none", "incremental", "full"]),
        "max_delete": st.sampled_from(["5%", "100%"]),
        "chunk_tokens": st.integers(8, 512),
        "delete_after": st.sampled_from(["1h", "30d"]),
        "max_rejects": st.integers(0, 9),
    },
)


@given(CHANGES, CHANGES)
def test_a_setting_is_the_jobs_if_it_has_it_else_the_one_in_force(outside: dict[str, object], inside: dict[str, object]) -> None:
    settings = Settings.model_validate({**outside, "jobs": {"j": {"source": "a", "collection": "c", **inside}}})
    merged = Settings.model_validate({**outside, **inside})
    own = job_settings(settings, "j")
    for name in RunSettings.model_fields:
        assert getattr(own, name) == getattr(merged, name)


def test_a_source_is_one_location_or_several_and_never_split() -> None:
    assert load('[jobs.j]\nsource = "a,b.csv"\ncollection = "c"').jobs["j"].source == ["a,b.csv"]
    assert load('[jobs.j]\nsource = ["a", "b"]\ncollection = "c"').jobs["j"].source == ["a", "b"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"90s"', 90), ('"15m"', 900), ('"6h"', 21_600), ('"1.5h"', 5400), ('"30d"', 2_592_000), ('"2w"', 1_209_600)],
)
def test_durations(written: str, seconds: float) -> None:
    assert load(f"{JOB}every = {written}").jobs["nightly"].every == seconds


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (f"{JOB}sorce = 'b'", "unknown setting jobs.nightly.sorce: did you mean source?"),
        (f"{JOB}layout.shard = 2", "unknown setting jobs.nightly.layout.shard: did you mean shards?"),
        (f"{JOB}store = 'x'", "unknown setting jobs.nightly.store"),
        ("[jobs.nightly]\nsource = 'a'", "jobs.nightly.collection is wrong: Field required"),
        ("[jobs.nightly]\nsource = []\ncollection = 'c'", "jobs.nightly.source is wrong"),
        ("[jobs.nightly]\nsource = '-'\ncollection = 'c'", "cannot read standard input"),
        (f"{JOB}every = '5 parsecs'", "'5 parsecs' is not a duration: write, say, 90s, 15m, 6h or 30d"),
        (f"{JOB}every = 45", "jobs.nightly.every is wrong: '45' has no unit: write 45s (seconds), 45m"),
        (f"{JOB}delete_after = 7", "jobs.nightly.delete_after is wrong: '7' has no unit: write 7s (seconds), 7m"),
        (f"{JOB}max_delete = 50", "jobs.nightly.max_delete is wrong: '50' is not a share from 0% to 100%: write 50%"),
        (f"{JOB}max_delete = true", "jobs.nightly.max_delete is wrong: true is not allowed here"),
        (f"{JOB}max_rejects = '101%'", "jobs.nightly.max_rejects is wrong: '101%' is neither a share"),
        (f"{JOB}every = '0s'", "jobs.nightly.every is wrong"),
        (f"{JOB}every = '1h'\nschedule = '0 3 * * *'", "either a schedule or every, not both"),
        ("[jobs.'../x']\nsource = 'a'\ncollection = 'c'", "a job's name is 1 to 64 letters"),
        ("jobs = 3", "the setting jobs is wrong"),
        ('delete = "ful"', "the setting delete is wrong: 'ful' is not one of none, incremental, full"),
        (f"{JOB}delete = 5", "jobs.nightly.delete is wrong: 5 is not one of none, incremental, full"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(toml: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(toml)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_shown_settings_hold_what_a_job_says_and_no_passwords() -> None:
    shown = load('[jobs.j]\nsource = ["postgresql://me:hunter2@host/db", "https://x/y?sig=hunter2", "a/?.md"]\ncollection = "c"')
    assert shown.model_dump(mode="json")["jobs"] == {
        "j": {"source": ["postgresql://***@host/db", "https://x/y?***", "a/?.md"], "collection": "c"}
    }
    assert "hunter2" not in shown.model_dump_json()
