"""docs/troubleshooting.md names every error, with a message that its cause here really brings."""

from __future__ import annotations

import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Answer, FaultyProxy
from lease_holder import ingestion_holds
from qdrant_client import QdrantClient

import ingest
from ingest.encode.lease import lease_gpus
from ingest.schedule.status import JobRecord, run_recorded
from ingest.testing import FakeAccelerator, HashEncoder, use_accelerator

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
MESSAGE = re.compile(r"^```text\n(.*?)\n```", re.MULTILINE | re.DOTALL)

RULES = [{"id": str(number), "text": f"Rule {number} is about refunds."} for number in range(10)]

Cause = Callable[["Desk"], object]
CAUSES: dict[str, Cause] = {}


def causes(error: type[ingest.IngestError]) -> Callable[[Cause], Cause]:
    def register(cause: Cause) -> Cause:
        CAUSES[error.__name__] = cause
        return cause

    return register


class Desk:
    """A folder with an embedded store, and what else a cause needs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, client: QdrantClient, server_url: str, name: str) -> None:
        self.folder, self.monkeypatch, self.client = folder, monkeypatch, client
        self.server_url, self.name = server_url, name

    def collection(self, name: str = "handbook", **options: Any) -> ingest.Collection:
        """Return a collection of BM25 vectors in the store of this desk."""
        place = {"store": self.folder / "qdrant", "state": self.folder / "state", "models": ["bm25"]}
        return ingest.Collection(name, **{**place, **options})

    def synced(self, **options: Any) -> ingest.Collection:
        collection = self.collection(**options)
        collection.sync(RULES, name="rules")
        return collection


@causes(ingest.ConfigurationError)
def _(desk: Desk) -> None:
    desk.collection().sync(RULES, name="rules", delete="everything")  # type: ignore[arg-type]


@causes(ingest.UnknownModelError)
def _(desk: Desk) -> None:
    desk.collection(models=["all-minilm-l6"])


@causes(ingest.ConflictError)
def _(desk: Desk) -> None:
    desk.synced().search("refunds", vectors=["bge-m3"])


@causes(ingest.ManifestMismatchError)
def _(desk: Desk) -> None:
    desk.synced().close()
    desk.collection(models=[HashEncoder("hash"), "bm25"]).sync(RULES, name="rules")


@causes(ingest.MissingExtraError)
def _(desk: Desk) -> None:
    desk.monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    ingest.open_source("sqlite:///shop.db", query="SELECT id, text FROM rules")


@causes(ingest.SourceError)
def _(desk: Desk) -> None:
    desk.collection().sync(desk.folder / "handbok")


@causes(ingest.ModelError)
def _(desk: Desk) -> None:
    desk.monkeypatch.setenv("HF_HUB_CACHE", str(desk.folder))
    desk.collection(models=["bge-m3"]).sync(RULES, name="rules")


class _Down(HashEncoder):
    def encode_documents(self, texts: Sequence[str]) -> Any:
        raise ingest.ModelUnavailableError(f"{self.key} does not answer")


@causes(ingest.ModelUnavailableError)
def _(desk: Desk) -> None:
    encoding = ingest.EncodingOptions(retry=ingest.RetryPolicy(attempts=2, first=0.0))
    desk.collection(models=[_Down("endpoint")], encoding=encoding).sync(RULES, name="rules")


class _Half(HashEncoder):
    """A model of a half precision. Vectors of its second version are others."""

    dtype = "float16"
    backend = "torch"
    fingerprint = "half"

    def __init__(self, version: str) -> None:
        super().__init__("half", revision=version)


@causes(ingest.PrecisionError)
def _(desk: Desk) -> None:
    desk.synced(models=[_Half("1")]).close()
    desk.collection(models=[_Half("2")]).sync([*RULES, {"id": "new", "text": "A new rule."}], name="rules")


@causes(ingest.DeviceError)
def _(desk: Desk) -> None:
    gpu = ingest.EncodingOptions(devices=("cuda:0",))
    with use_accelerator(FakeAccelerator()) as gpus:
        gpus.broken["cuda:0"] = "cuda:0 needs a newer driver than 12.2: update the driver, or install an older torch"
        desk.collection(models=["all-miniLM-l6"], encoding=gpu).sync(RULES, name="rules")


@causes(ingest.DeviceMemoryError)
def _(desk: Desk) -> None:
    gpu = ingest.EncodingOptions(devices=("cuda:0",), lease_directory=desk.folder)
    with use_accelerator(FakeAccelerator(total_gb=0.01)):
        desk.collection(models=["all-miniLM-l6"], encoding=gpu).sync(RULES, name="rules")


@causes(ingest.LeaseError)
def _(desk: Desk) -> None:
    model = HashEncoder("hash")
    with lease_gpus(model, ["cpu"], directory=desk.folder), lease_gpus(model, ["cpu"], directory=desk.folder):
        pass


@causes(ingest.LeaseTimeoutError)
def _(desk: Desk) -> None:
    options = ingest.EncodingOptions(devices=("cpu",), lease_directory=desk.folder, lease_timeout=0.0)
    with ingestion_holds("cpu", desk.folder):
        desk.collection(models=[HashEncoder("hash")], encoding=options).sync(RULES, name="rules")


@causes(ingest.StoreError)
def _(desk: Desk) -> None:
    desk.collection(store=f"{desk.server_url}/dashboard").info()


@causes(ingest.StoreUnavailableError)
def _(desk: Desk) -> None:
    desk.collection(store="http://127.0.0.1:9", retry=ingest.RetryPolicy(attempts=2, first=0.0)).info()


@causes(ingest.RequestTooLargeError)
def _(desk: Desk) -> None:
    with FaultyProxy(desk.server_url, lambda request: Answer(413) if request.size > 20_000 else None) as proxy:
        desk.collection(desk.name, store=proxy.url).sync([{"id": "1", "text": "A scan.", "scan": "x" * 30_000}], name="scans")


@causes(ingest.StoreLockedError)
def _(desk: Desk) -> None:
    with desk.synced(), desk.collection() as another:
        another.info()


@causes(ingest.CollectionNotFoundError)
def _(desk: Desk) -> None:
    desk.synced().close()
    desk.collection("handbok").search("refunds")


@causes(ingest.ForeignCollectionError)
def _(desk: Desk) -> None:
    desk.client.create_collection(desk.name, vectors_config={})
    desk.collection(desk.name, store=desk.server_url).sync(RULES, name="rules")


def _inherit(searcher: ingest.Searcher) -> None:
    globals()["inherited"] = searcher


def _search() -> None:
    globals()["inherited"].search("refunds")


@causes(ingest.PluginError)
def _(desk: Desk) -> None:
    info = desk.folder / "example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ingest.models]\nfar = nothing_of_that_name:Far\n")
    desk.monkeypatch.syspath_prepend(str(desk.folder))
    desk.collection(models=["far"])


@causes(ingest.ForkError)
def _(desk: Desk) -> None:
    searcher = desk.synced().searcher
    with multiprocessing.get_context("fork").Pool(1, initializer=_inherit, initargs=(searcher,)) as pool:
        pool.apply(_search)


@causes(ingest.JobRunningError)
def _(desk: Desk) -> None:
    record = JobRecord(desk.folder, "handbook")
    with record.hold():
        run_recorded(record, lambda _: pytest.fail("it ran twice"), stop=lambda: False, rejects_allowed=0)


@causes(ingest.DeletionBrakeError)
def _(desk: Desk) -> None:
    desk.synced().sync(RULES[:2], name="rules", delete="full")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: QdrantClient, server_url: str, collection: str) -> Desk:
    return Desk(tmp_path, monkeypatch, client, server_url, collection)


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_of_an_error_brings_the_message_on_the_page(desk: Desk, name: str) -> None:
    with pytest.raises(getattr(ingest, name)) as raised:
        CAUSES[name](desk)
    assert type(raised.value).__name__ == name
    (message,) = MESSAGE.findall(dict(SECTION.findall(PAGE.read_text(encoding="utf-8")))[name])
    expected = ".+".join(map(re.escape, " ".join(message.split()).split("…")))
    assert re.fullmatch(expected, f"error: {raised.value}"), raised.value


def test_every_error_has_its_section_and_its_cause() -> None:
    errors = {name for name in ingest.__all__ if name.endswith("Error")} - {"IngestError"}
    sections = [name for name, _ in SECTION.findall(PAGE.read_text(encoding="utf-8"))]
    assert sorted(sections) == sorted(errors)
    assert CAUSES.keys() == errors
