"""A settings file that happens to lie in the working directory runs no code, learns no key and writes nowhere else."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from ingest.errors import ConfigurationError
from ingest.settings import load_settings

KEY = "s3cret-key"
EVIL = "http://evil.example:6333"
JOB = '[jobs.nightly]\nsource = "corpus.jsonl"\ncollection = "docs"\n'


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory, into which somebody put the file."""
    folder = tmp_path / "cloned"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


CODE = {
    "the list of trusted models": 'trust_remote_code = ["own"]\n[models.own]\npath = "model"\ndim = 32\nmax_tokens = 64\n',
    "a reranker that is trusted": 'reranker = "./model"\ntrust_remote_code = ["./model"]\n',
    "a list without a model": "trust_remote_code = []\n",
    "a flag of a model": '[models.own]\npath = "model"\ntrust_remote_code = true\n',
    "a key over plain HTTP": "allow_plain_http_key = true\n",
    "a key of the environment for a model": '[models.far]\nbackend = "http"\napi = "openai"\napi_key_env = "OPENAI_API_KEY"\n',
    "a cluster": 'engine = "ray"\nray_address = "ray://evil.example:10001"\n',
    "the cluster of a job": f'{JOB}engine = "ray"\nray_address = "ray://evil.example:10001"\n',
}
"""What would run code or give the key away, by where it is written."""

PLACES = {
    "the rejects": 'rejects = "/home/user/.bash_profile"\n',
    "the rejects, above": 'rejects = "../.bash_profile"\n',
    "the rejects, at home": 'rejects = "elsewhere/.bash_profile"\n',
    "the files of jobs": 'jobs_dir = "../jobs"\n',
    "the rejects of a job": f'{JOB}rejects = "../.bash_profile"\n',
}


@pytest.mark.parametrize("toml", CODE.values(), ids=CODE)
def test_a_found_file_runs_no_code_and_gives_no_key_away(toml: str) -> None:
    Path("ingest.toml").write_text(toml)
    with pytest.raises(ConfigurationError, match=r"was found .*--config ingest\.toml or INGEST_CONFIG=ingest\.toml") as caught:
        load_settings({})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["trust_remote_code", "allow_plain_http_key", "api_key", "store", "ca_file"])
def test_no_job_says_it_in_any_file(key: str) -> None:
    Path("ingest.toml").write_text(f"{JOB}{key} = true\n")
    for file in (None, Path("ingest.toml")):
        with pytest.raises(ConfigurationError, match=f"unknown setting jobs.nightly.{key}"):
            load_settings({}, file)


@pytest.mark.parametrize("toml", [CODE["the list of trusted models"], CODE["a key over plain HTTP"], CODE["a cluster"]])
def test_a_named_file_may_say_it(toml: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ingest.toml").write_text(toml)
    load_settings({}, Path("ingest.toml"))
    monkeypatch.setenv("INGEST_CONFIG", "ingest.toml")
    load_settings({})


def test_so_may_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TRUST_REMOTE_CODE", "own")
    monkeypatch.setenv("INGEST_ALLOW_PLAIN_HTTP_KEY", "true")
    settings = load_settings({})
    assert (settings.trust_remote_code, settings.allow_plain_http_key) == (["own"], True)


@pytest.mark.parametrize("key", ["own", "jina-embeddings-v4"])
def test_a_found_file_does_not_define_a_model_that_the_environment_trusts(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the word for one model would run the code of another."""
    monkeypatch.setenv("INGEST_TRUST_REMOTE_CODE", f"other,{key}")
    Path("ingest.toml").write_text(f'[models.{key}]\npath = "evil"\n')
    with pytest.raises(ConfigurationError, match=f"defines the model {key}"):
        load_settings({})


@pytest.mark.parametrize(
    "toml",
    [
        f'store = "{EVIL}"\n',
        f'store = "{EVIL}"\napi_key = "its own"\n',
        'store = "http://localhost:6333"\n',
        f'store = "{EVIL.upper()}"\n',
    ],
)
def test_the_key_of_the_environment_does_not_go_to_a_store_that_a_found_file_names(
    toml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_API_KEY", KEY)
    Path("ingest.toml").write_text(toml)
    with pytest.raises(
        ConfigurationError, match=r"INGEST_API_KEY is not sent to (?i:http).*INGEST_STORE beside the key"
    ) as caught:
        load_settings({})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("toml", ['ca_file = "evil.pem"\n', "grpc_port = 9999\n"])
def test_nor_is_the_way_to_the_store_of_the_environment_changed(toml: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another authority vouches for another server, and at another port somebody else may listen."""
    monkeypatch.setenv("ingest_api_key", KEY)  # in any case
    monkeypatch.setenv("INGEST_STORE", "https://qdrant.example:6333")
    Path("ingest.toml").write_text(toml)
    with pytest.raises(ConfigurationError, match=r"INGEST_API_KEY is not sent to https://qdrant\.example:6333"):
        load_settings({})


@pytest.mark.parametrize(
    ("toml", "environment", "command"),
    [
        pytest.param(f'store = "{EVIL}"\n', {}, {}, id="no key"),
        pytest.param(f'store = "{EVIL}"\napi_key = "its own"\n', {}, {}, id="its own key"),
        pytest.param(f'store = "{EVIL}"\n', {"INGEST_API_KEY": KEY}, {"store": "http://mine:6333"}, id="--store"),
        pytest.param(f'store = "{EVIL}"\n', {"INGEST_API_KEY": KEY, "INGEST_STORE": "http://mine:6333"}, {}, id="INGEST_STORE"),
        pytest.param(f'store = "{EVIL}"\n', {"INGEST_API_KEY": KEY, "INGEST_CONFIG": "ingest.toml"}, {}, id="INGEST_CONFIG"),
        pytest.param('store = "folder"\nca_file = "x.pem"\n', {"INGEST_API_KEY": KEY}, {}, id="a folder"),
        pytest.param("", {"INGEST_API_KEY": KEY, "INGEST_STORE": EVIL}, {}, id="nothing in the file"),
    ],
)
def test_the_key_goes_where_somebody_says(
    toml: str, environment: Mapping[str, str], command: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("ingest.toml").write_text(toml)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    load_settings(command)


@pytest.mark.parametrize("toml", PLACES.values(), ids=PLACES)
def test_a_found_file_writes_only_in_its_folder(toml: str, folder: Path) -> None:
    (folder / "elsewhere").symlink_to(folder.parent)
    Path("ingest.toml").write_text(toml)
    with pytest.raises(ConfigurationError, match="to a path outside its folder"):
        load_settings({})
    load_settings({}, Path("ingest.toml"))


@pytest.mark.parametrize(
    "toml", [f'Store = "{EVIL}"\n', 'TRUST_REMOTE_CODE = ["own"]\n', '[Models.own]\npath = "evil"\n', "Ca_File = 'x'\n"]
)
def test_no_spelling_gets_past(toml: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_API_KEY", KEY)
    monkeypatch.setenv("INGEST_TRUST_REMOTE_CODE", "own")
    Path("ingest.toml").write_text(toml)
    with pytest.raises(ConfigurationError, match=r"unknown setting \w+.*: did you mean"):
        load_settings({})


def test_what_a_folder_may_want_for_itself_is_done(folder: Path) -> None:
    Path("ingest.toml").write_text(
        f'rejects = "state/rejects.jsonl"\njobs_dir = "{folder}/state"\ndense = ["own"]\n'
        '[models.own]\npath = "model"\ndim = 32\nmax_tokens = 64\nneeds_remote_code = true\n'
    )
    assert load_settings({}).models.keys() == {"own"}  # which runs no code: nothing trusts it


def test_a_found_file_gives_no_address_to_a_model_whose_key_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ingest.toml").write_text(f'[models.far]\nbackend = "http"\napi = "openai"\nurl = "{EVIL}"\n')
    assert load_settings({}).models["far"]["url"] == EVIL
    monkeypatch.setenv("INGEST_MODELS", '{"far": {"api_key_env": "OPENAI_API_KEY"}}')
    with pytest.raises(ConfigurationError, match=r"sets the url of the model far"):
        load_settings({})
    assert load_settings({}, Path("ingest.toml")).models["far"]["api_key_env"] == "OPENAI_API_KEY"


def test_a_key_in_a_wrong_place_of_a_model_is_not_shown() -> None:
    Path("ingest.toml").write_text(
        '[models.far]\nbackend = "http"\nurl = "https://me:hunter2@host/v1?key=hunter2"\napi_key = "hunter2"\n'
        'api_key_env = "hunter2"\nheaders = {Authorization = "hunter2"}\nmax_tokens = 512\n'
        'apikey = "hunter2"\nbearer = "hunter2"\ncredentials = "hunter2"\nmore = {deep = {token = "hunter2"}}\n'
    )
    shown = load_settings({}, Path("ingest.toml")).model_dump_json()
    assert "hunter2" not in shown
    assert '"max_tokens":512' in shown


def test_a_login_in_the_url_of_the_store_is_not_shown() -> None:
    assert "hunter2" not in load_settings({"store": "https://me:hunter2@host:6333"}).model_dump_json()


@pytest.mark.parametrize("text", ['apikey = "hunter2"', 'api_key = ["hunter2"]', '[collections]\naliases = "hunter2"'])
def test_the_cause_of_an_error_does_not_repeat_a_value(text: str) -> None:
    """It is printed with --debug."""
    Path("ingest.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, Path("ingest.toml"))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
