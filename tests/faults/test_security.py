"""What is kept is for its owner alone, a model runs no code unasked, and a database is only read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ingest, write_jsonl
from tiny_models import tiny_dense

from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.rerankers import make_reranker, reranker_config
from ingest.errors import ConfigurationError, ModelError, SourceError
from ingest.records import Document, Rejected
from ingest.source import open_source
from ingest.sync.rejects import RejectsFile

# --- files


def test_what_is_written_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    records = [{"id": str(number), "text": f"text {number}"} for number in range(20)]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [*records, {"id": "bad"}])
    (tmp_path / "ingest.toml").write_text(f'dense = []\n[jobs.nightly]\nsource = "{corpus}"\ncollection = "docs"\n')
    given = set(tmp_path.rglob("*"))
    commands = (
        ("run", str(corpus), "-c", "docs", "--telemetry", "told/telemetry.jsonl"),
        ("sync",),
        ("embed", str(corpus), "--out", "exported/here"),
    )
    before = os.umask(0)
    try:
        for command in commands:
            done = ingest(*command, cwd=tmp_path, INGEST_LEASE_DIR="lease/of/mine", INGEST_DEVICE="cpu")
            assert done.code == 0, done.err
    finally:
        os.umask(before)
    made = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path not in given}
    kept = {"rates.json", "batches.json", "telemetry.jsonl", "docs.jsonl", "nightly.json", "nightly.lock", "aliases.json"}
    assert kept <= {path.name for path in made}
    assert {".lock", ".parquet"} <= {path.suffix for path in made if path.parts[0] in ("lease", "exported")}
    of_the_engine = {path for path in made if "shard" in path.parts[:-1]}  # behind folders that nobody else enters
    for path, mode in made.items():
        if path not in of_the_engine:
            assert mode == (0o700 if (tmp_path / path).is_dir() else 0o600), (path, oct(mode))


# --- models


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """It is there once code of a model has run."""
    return tmp_path / "it-ran"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_dense(tmp_path / "made")


def code(canary: Path) -> str:
    return f"import pathlib\npathlib.Path({str(canary)!r}).mkdir(exist_ok=True)\n"


def load(folder: Path, **options: Any) -> None:
    own = {"own": {"path": str(folder), "dim": 32, "max_tokens": 64, **options.pop("fields", {})}}
    ModelManager(EnsembleConfig(("own",)), devices=("cpu",), custom_models=own, **options).members[0].load()


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def assert_refused(load_it: Callable[[], object], canary: Path, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        load_it()
    assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_weights_that_are_a_pickle_are_refused_unread(model: Path, canary: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(canary)))
    assert_refused(lambda: load(model), canary, r"must contain .*\.safetensors")
    pickle.loads((model / "pytorch_model.bin").read_bytes())  # it would have run
    assert canary.exists()


@pytest.mark.parametrize("weights", ["canary", "honest"])
def test_a_pickle_in_a_part_of_the_model_is_refused_too(model: Path, canary: Path, weights: str) -> None:
    part = model / "2_Dense"
    part.mkdir()
    (part / "config.json").write_text(json.dumps({"in_features": 32, "out_features": 32, "bias": True}))
    if weights == "canary":
        (part / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(canary)))
    else:
        torch.save(torch.nn.Linear(32, 32).state_dict(), part / "pytorch_model.bin")
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (model / "modules.json").write_text(json.dumps(modules))
    assert_refused(lambda: load(model), canary, "a pickle, which can run any code: convert it to safetensors")


def custom_module(model: Path, canary: Path) -> None:
    """A module of its own, in the folder, beside those of the library."""
    (model / "custom.py").write_text(
        code(canary) + "from sentence_transformers.sentence_transformer.modules import Normalize\nclass Mine(Normalize): pass\n"
    )
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Mine", "type": "custom.Mine"})
    (model / "2_Mine").mkdir()
    (model / "modules.json").write_text(json.dumps(modules))


def custom_architecture(model: Path, canary: Path) -> None:
    """An architecture that transformers does not know, and the code for it."""
    (model / "custom.py").write_text(
        code(canary) + "from transformers import BertConfig, BertModel\n"
        "class MineConfig(BertConfig): model_type = 'mine'\n"
        "class Mine(BertModel): config_class = MineConfig\n"
    )
    edit(model / "config.json", model_type="mine", auto_map={"AutoConfig": "custom.MineConfig", "AutoModel": "custom.Mine"})


def custom_tokenizer(model: Path, canary: Path) -> None:
    (model / "custom.py").write_text(
        code(canary) + "from transformers import PreTrainedTokenizerFast\nclass Mine(PreTrainedTokenizerFast): pass\n"
    )
    edit(model / "tokenizer_config.json", tokenizer_class="Mine", auto_map={"AutoTokenizer": ["custom.Mine", "custom.Mine"]})


@pytest.mark.parametrize("customize", [custom_module, custom_architecture, custom_tokenizer], ids=lambda each: each.__name__)
def test_code_of_a_model_runs_by_the_users_word_alone(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, customize: Callable[[Path, Path], None]
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    customize(model, canary)
    try:
        load(model)
    except ModelError as exc:
        assert "\n" not in str(exc)  # noqa: PT017  to be refused is one way not to run it, to do without is another
    assert not canary.exists()
    with pytest.raises(ConfigurationError, match="trust_remote_code"):
        load(model, fields={"needs_remote_code": True})
    assert not canary.exists()
    load(model, trust_remote_code=["own"])
    assert canary.exists()


def test_a_reranker_runs_no_code_of_its_own_either(model: Path, canary: Path) -> None:
    custom_architecture(model, canary)
    edit(model / "config.json", architectures=["MineForSequenceClassification"])
    reranker = make_reranker(reranker_config(str(model)), "float32")
    assert_refused(reranker.load, canary, "cannot be loaded")
    trusted = make_reranker(reranker_config(str(model), trust_remote_code=[str(model)]), "float32")
    with pytest.raises(ModelError):  # it has no code for what it says it is, but what it has was run
        trusted.load()
    assert canary.exists()


def test_a_folder_is_not_taken_for_a_trusted_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trusts `owner/name` of the hub does not trust a folder of that name in whatever directory this runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"write \./owner/name"):
        reranker_config("owner/name", trust_remote_code=["owner/name"])
    assert not reranker_config("owner/name").needs_remote_code
    assert reranker_config("./owner/name", trust_remote_code=["./owner/name"]).needs_remote_code


# --- databases


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE docs (id, text)")
        connection.executemany("INSERT INTO docs VALUES (?, ?)", [("a", "text"), ("%s :b ?", "100% :text ?")])
    connection.close()
    return path


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE docs SET text = 'x' RETURNING id, text",
        "SELECT id, text FROM docs; DROP TABLE docs",
        "DROP TABLE docs",
        "CREATE TABLE more AS SELECT * FROM docs",
        "ATTACH DATABASE 'other.db' AS other",
        "ATTACH DATABASE 'file:other.db?mode=rwc' AS other",
        "VACUUM",
        "VACUUM INTO 'other.db'",
        "PRAGMA journal_mode = DELETE; DELETE FROM docs",
        "SELECT load_extension('x.so') AS id, 'x' AS text",
    ],
)
def test_no_query_writes_anything(database: Path, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = database.read_bytes()
    with pytest.raises(SourceError) as caught:
        list(open_source(f"sqlite:///{database}", query=query).read())
    assert "\n" not in str(caught.value)
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_what_looks_like_a_parameter_is_none(database: Path) -> None:
    query = "SELECT id, text FROM docs WHERE id = '%s :b ?' AND text LIKE '100% :text ?'"
    assert [item.id for item in open_source(f"sqlite:///{database}", query=query).read() if isinstance(item, Document)] == [
        "%s :b ?"
    ]


# --- ids are data


@pytest.mark.parametrize("doc_id", ["../../escaped", "/etc/passwd", "..\\escaped", "a/../../escaped", "CON", "x\0y", "."])
def test_an_id_is_never_a_path(tmp_path: Path, doc_id: str) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    corpus = write_jsonl(folder / "corpus.jsonl", [{"id": doc_id, "text": "fine"}, {"id": doc_id, "text": 1}])
    found = list(open_source(str(corpus)).read())
    with RejectsFile(folder / "rejects.jsonl") as rejects:
        for item in found:
            if isinstance(item, Rejected):
                rejects.add("docs", item)
    assert {path.name for path in tmp_path.rglob("*")} <= {"deep", "folder", "corpus.jsonl", "rejects.jsonl"}
    assert json.loads((folder / "rejects.jsonl").read_text().splitlines()[-1])["raw"]
    shutil.rmtree(folder)
