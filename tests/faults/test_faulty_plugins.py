"""Whatever a plugin does wrong is named with its package, and loses nothing."""

from __future__ import annotations

import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from command import ingest

import ingest as library
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.testing import FakeAccelerator, use_accelerator

Install = Callable[..., None]

MODEL = """
    import numpy as np
    class Model:
        dim = 2
        def embed(self, texts, *, query):
            good = np.tile(np.array([0.6, 0.8], np.float32), (len(texts), 1))
            {fault}
            return good
"""
RULES = [{"id": str(number), "text": f"Rule {number} is about refunds."} for number in range(5)]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package of one module. `entries`: kind and name of a plugin, `model m` → the name of its class."""
    modules: list[str] = []

    def installed(package: str, code: str, entries: Mapping[str, str], version: str = "1.0") -> None:
        site = tmp_path / "sites" / f"{package}-{version}"
        info = site / f"{package}-{version}.dist-info"
        info.mkdir(parents=True)
        module = f"{package}_{uuid.uuid4().hex}"  # what was imported stays known by its name
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = []
        for entry, target in entries.items():
            kind, name = entry.split()
            lines.append(f"[ingest.{kind}s]\n{name} = {module}:{target}\n")
        (info / "entry_points.txt").write_text("".join(lines))
        monkeypatch.syspath_prepend(str(site))
        modules.append(module)

    yield installed
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def rules(tmp_path: Path) -> Callable[..., library.Collection]:
    """Open the collection `rules`."""

    def opened(**options: object) -> library.Collection:
        return library.Collection("rules", store=tmp_path / "store", state=tmp_path, **options)  # type: ignore[arg-type]

    return opened


def test_plugins_that_cannot_be_used_are_listed_with_the_reason(install: Install, tmp_path: Path) -> None:
    install("broken", "import nothing_of_that_name", {"model far": "Far", "source far": "Far"})
    install("exits", "raise SystemExit(3)", {"reranker leaves": "X"})
    install("clashing", "class X: pass", {"model bm25": "X", "converter pdf": "X", "source x": "X", "converter UP": "X"})
    install("empty", "class X: pass", {"chunker empty": "X", "model shapeless": "X"})
    for package in ("one", "two"):
        install(package, MODEL.format(fault=""), {"model same": "Model"})
    listed = ingest("plugins", "--json", cwd=tmp_path)
    assert listed.code == 0
    problems = {(each["kind"], each["name"], each["package"]): each["problem"] for each in listed.json["plugins"]}
    for key, problem in {
        (
            "source",
            "far",
            "broken",
        ): "the source 'far' of the package broken 1.0 cannot be loaded (ModuleNotFoundError: No module",
        ("source", "x", "clashing"): "two or more letters",
        ("converter", "UP", "clashing"): "lower case",
        ("converter", "pdf", "clashing"): "no format or suffix of ingest itself",
        ("model", "bm25", "clashing"): "the name of a built-in model, which is used instead: rename its entry point",
        ("model", "far", "broken"): "pip uninstall broken",
        ("model", "same", "one"): "comes from the packages one and two: uninstall all but one",
        ("model", "same", "two"): "comes from the packages one and two: uninstall all but one",
        ("model", "shapeless", "empty"): "is a X without a method embed",
        ("reranker", "leaves", "exits"): "SystemExit: 3",
        ("chunker", "empty", "empty"): "is a X without a method spans",
    }.items():
        assert problem in problems.pop(key)
    assert not problems
    models = ingest("models", "list", "--json", cwd=tmp_path)
    assert {each["key"] for each in models.json["models"]}.isdisjoint({"far", "same", "shapeless", "leaves"})
    assert "broken 1.0 cannot be loaded" in models.err
    named = ingest("run", ".", "-c", "c", "--dense", "far", cwd=tmp_path)
    assert (named.code, named.err.count("\n")) == (1, 1)
    assert named.err.startswith("error: the model 'far' of the package broken 1.0 cannot be loaded (ModuleNotFoundError")


def test_a_plugin_that_is_not_named_is_not_imported(
    install: Install, rules: Callable[..., library.Collection], tmp_path: Path
) -> None:
    marker = tmp_path / "imported"
    install("eager", f"open({str(marker)!r}, 'w')", {"model eager": "X", "reranker eager": "X", "converter eager": "X"})
    with rules(models=["bm25"]) as opened:
        opened.sync(RULES, name="rules")
        assert opened.search("refunds", rerank="off")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("return good.astype(np.float64)", r"returned float64 \(5, 2\) instead of float32 \(5, 2\)"),
        ("return good[:1]", r"returned float32 \(1, 2\) instead of float32 \(5, 2\)"),
        ("return good.tolist()", r"returned a list instead of float32 \(5, 2\)"),
        ("return good * 2", "returned a vector of length 2 instead of 1"),
        ("raise ValueError('no\\nweights')", r"cannot encode a plain sentence \(ValueError: no weights\)"),
    ],
)
def test_a_model_that_breaks_its_protocol_ends_the_run(
    install: Install, rules: Callable[..., library.Collection], fault: str, message: str
) -> None:
    with rules(models=["bm25"]) as before:
        before.sync(RULES, name="rules")
    install("faulty", MODEL.format(fault=fault), {"model m": "Model"})
    with (
        rules(models=["m"]) as opened,
        pytest.raises(library.PluginError, match=f"the model 'm' of the package faulty 1.0 {message}"),
    ):
        opened.reindex(models=["m", "bm25"], self_test=False)
    with rules() as after:
        assert after.info().points == len(RULES)
        assert [spec.name for spec in after.info().vectors] == ["bm25"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            "if any('3' in text for text in texts): raise ValueError('threes')",
            "m' of the package faulty 1.0 failed (ValueError: thre",
        ),
        ("good[['3' in text for text in texts]] = np.nan", "m made a vector that is not finite"),
    ],
)
def test_a_text_that_a_model_cannot_encode_is_rejected_alone(
    install: Install, rules: Callable[..., library.Collection], tmp_path: Path, fault: str, reason: str
) -> None:
    install("faulty", MODEL.format(fault=fault), {"model m": "Model"})
    with rules(models=["m"]) as opened:
        receipt = opened.sync(RULES, name="rules")
        assert (receipt.written, receipt.rejected, receipt.balanced) == (4, 1, True)
    assert reason in (tmp_path / "rejects" / "rules.jsonl").read_text()


def test_a_sparse_model_returns_terms_and_weights(install: Install, rules: Callable[..., library.Collection]) -> None:
    code = "class Sparse:\n dim = None\n def embed(self, texts, *, query): return [{-1: 1.0}] * len(texts)"
    install("faulty", code, {"model s": "Sparse"})
    with (
        rules(models=["s"]) as opened,
        pytest.raises(library.PluginError, match="returned a sparse vector that is no"),
    ):
        opened.sync(RULES, name="rules")


def test_another_version_of_a_plugin_is_never_mixed_with_the_stored_one(
    install: Install, rules: Callable[..., library.Collection]
) -> None:
    install("changing", MODEL.format(fault=""), {"model m": "Model"})
    with rules(models=["m"]) as opened:
        opened.sync(RULES, name="rules")
    install("changing", MODEL.format(fault=""), {"model m": "Model"}, version="2.0")
    with rules(models=["m"]) as opened:
        with pytest.raises(library.ManifestMismatchError, match="m was made by another revision"):
            opened.sync(RULES, name="rules")
        with pytest.raises(library.ManifestMismatchError, match="another m"):
            opened.search("refunds")
        assert opened.sync(RULES, name="rules", accept_fingerprints=True).unchanged == len(RULES)


def test_a_reranker_that_fails_leaves_the_order_and_says_why(install: Install, rules: Callable[..., library.Collection]) -> None:
    install("faulty", "class R:\n def score(self, query, texts): return [1.0]", {"reranker r": "R"})
    with rules(models=["bm25"], reranker="r") as opened:
        opened.sync(RULES, name="rules")
        answer = opened.search("refunds", rerank="auto")
        assert len(answer.hits) == len(RULES)
        assert "the reranker 'r' of the package faulty 1.0 returned scores of shape (1,)" in str(answer.note)
        with pytest.raises(library.PluginError, match="the package faulty"):
            opened.search("refunds", rerank="on")


def test_a_source_that_fails_midway_deletes_nothing(install: Install, rules: Callable[..., library.Collection]) -> None:
    code = """
        from pathlib import Path
        class S:
            def read(self, location):
                yield {"id": "1", "text": "One."}
                if Path(location).exists():
                    raise ValueError("the API is gone")
                yield {"id": "2", "text": "Two."}
    """
    install("faulty", code, {"source api": "S"})
    with rules(models=["bm25"]) as opened:
        assert opened.sync("api:nowhere", name="a").written == 2
        with pytest.raises(
            library.SourceError, match=r"the source 'api' of the package faulty 1.0 cannot read a \(ValueError: the A"
        ):
            opened.sync("api:/", name="a", delete="full")
        assert opened.info().points == 2
        with pytest.raises(library.ConfigurationError, match="which takes no format, query, table or version field"):
            library.open_source("api:/", format="csv")


def test_a_converter_that_fails_rejects_its_file_alone(
    install: Install, rules: Callable[..., library.Collection], tmp_path: Path
) -> None:
    code = """
        import os
        import ingest
        class C:
            def convert(self, data):
                if data == b"page": return ingest.Page("# A tune", title="Tune", metadata={"key": "D"})
                if data == b"crash": os._exit(1)
                if data == b"raise": raise ValueError("no header")
                return 7 if data == b"wrong" else data.decode()
    """
    install("faulty", code, {"converter abc": "C"})
    folder = tmp_path / "tunes"
    folder.mkdir()
    for name in ("crash", "raise", "wrong", "good", "page"):
        (folder / f"{name}.abc").write_text(name)
    with rules(models=["bm25"]) as opened:
        receipt = opened.sync(folder)
        assert (receipt.written, receipt.rejected) == (2, 3)
        page = opened.document("page.abc")
        assert page is not None
        assert (page.title, page.metadata["key"]) == ("Tune", "D")
    rejects = (tmp_path / "rejects" / "rules.jsonl").read_text()
    for reason in ("its converter crashed", "'abc' of the package faulty 1.0 failed (ValueError: no header)", "returned a int"):
        assert reason in rejects


def test_the_chunks_of_a_plugin_cover_the_text_and_fit_every_model(
    install: Install, rules: Callable[..., library.Collection], tmp_path: Path
) -> None:
    code = """
        class Halves:
            def spans(self, text, *, format, characters):
                if "lost" in text: return [(0, 5)]
                if "raise" in text: raise KeyError(format)
                return [(0, len(text) // 2), (len(text) // 2, len(text))]
        class Whole:
            def spans(self, text, *, format, characters): return [(0, len(text))]
    """
    install("faulty", code, {"chunker halves": "Halves", "chunker whole": "Whole"})
    texts = {"good": "one two four five", "lost": "text that is lost", "raise": "I raise", "long": "word " * 1000}
    records = [{"id": name, "text": text} for name, text in texts.items()]
    with rules(models=["bm25"], chunking=library.ChunkingOptions(tokens=100, chunker="halves")) as opened:
        receipt = opened.sync(records, name="r")
        assert (receipt.written, receipt.rejected, receipt.balanced) == (2, 2, True)
        found = {name: opened.document(name) for name in ("good", "long")}
        good, long = found["good"], found["long"]
        assert good is not None
        assert long is not None
        assert [chunk.text for chunk in good.chunks] == ["one two", "four five"]
        assert len(long.chunks) > 2
        assert all(len(chunk.text) <= 400 for chunk in long.chunks)
    rejects = (tmp_path / "rejects" / "rules.jsonl").read_text()
    assert "the chunker 'halves' of the package faulty 1.0 leaves out 'that is lost', at character 5" in rejects
    assert "failed (KeyError: 'text')" in rejects
    install("faulty", code, {"chunker halves": "Whole"}, version="2.0")
    with rules(models=["bm25"], chunking=library.ChunkingOptions(tokens=100, chunker="halves")) as opened:
        assert opened.sync(records[:1], name="r").updated == 1  # its version decides whether a document is cut again
        good = opened.document("good")
        assert good is not None
        assert [chunk.text for chunk in good.chunks] == ["one two four five"]


def test_a_chunker_that_is_not_installed_is_refused_before_anything_is_touched(
    rules: Callable[..., library.Collection], tmp_path: Path
) -> None:
    with rules(models=["bm25"], chunking=library.ChunkingOptions(chunker="verses")) as opened:
        with pytest.raises(library.ConfigurationError, match=r"no chunker is called 'verses': .* \(installed: none\)"):
            opened.sync(RULES, name="rules")
        assert not (tmp_path / "store").exists()


def test_a_model_that_moves_has_an_object_on_each_gpu(install: Install, tmp_path: Path) -> None:
    code = """
        import numpy as np
        class Moving:
            dim = 1
            made = []
            def __init__(self): self.device, self.moves = None, []; self.made.append(self)
            def to_device(self, device): self.device = device; self.moves.append(device)
            def embed(self, texts, *, query):
                assert self.device.startswith("cuda")
                return np.ones((len(texts), 1), np.float32)
    """
    install("moving", code, {"model moving": "Moving"})
    devices = ("cuda:0", "cuda:1")
    with use_accelerator(FakeAccelerator(2)):
        [model] = ModelManager(EnsembleConfig(["moving"]), devices=devices).members
        model.load()
        with lease_gpus(model, devices, directory=tmp_path) as lease:
            for encoder in lease.encoders:
                assert len(encoder.encode_documents(["a", "b"])) == 2
    [module] = [module for name, module in sys.modules.items() if name.startswith("moving_")]
    moves = [made.moves for made in module.Moving.made if made.moves]
    assert moves == [["cuda:0", "cpu"], ["cuda:1", "cpu"]]
