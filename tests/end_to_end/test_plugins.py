"""A second package, really built and installed, brings one plugin of each kind, which is used by its name everywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ingest

import ingest as library

PACKAGE = Path(__file__).parents[1] / "plugin_package"
DEVELOPMENT = Path(__file__).parents[2] / "docs" / "development.md"

NOTES = "A refund above 100 euros must be approved.\nThe cat sat on the mat.\nLaptops are encrypted.\n"
SCREENPLAY = "INT. OFFICE - DAY\n\nThe clerk approves a refund.\n\nEXT. STREET - NIGHT\n\nRain falls on the mat.\n"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the one of the plugins, installed by pip."""
    folder = tmp_path_factory.mktemp("plugins")
    copied = shutil.copytree(PACKAGE, folder / "package")  # building it writes beside its files
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(copied)]
    subprocess.run(command, check=True, timeout=300)
    return folder / "site"


@pytest.fixture
def desk(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, with the package where Python looks for packages."""
    monkeypatch.syspath_prepend(str(packages))
    (tmp_path / "notes.txt").write_text(NOTES)
    (tmp_path / "plays").mkdir()
    (tmp_path / "plays" / "refund.fountain").write_text(SCREENPLAY)
    yield tmp_path
    sys.modules.pop("ingest_samples", None)


def test_each_plugin_is_listed_with_what_it_brings(desk: Path) -> None:
    listed = ingest("plugins", "--json", cwd=desk).json["plugins"]
    assert [(each["kind"], each["name"], each["brings"]) for each in listed] == [
        ("source", "lines", "locations lines:…"),
        ("converter", "fountain", "files .fountain"),
        ("model", "letters", "dense, 27 dimensions, up to 100 tokens, revision 2026-11"),
        ("model", "words", "sparse"),
        ("reranker", "shared-words", "reranker"),
        ("chunker", "stanzas", "--chunker stanzas"),
    ]
    assert {(each["package"], each["version"], each["problem"]) for each in listed} == {("ingest-samples", "1.0", None)}
    assert "files .fountain" in ingest("plugins", cwd=desk).out
    models = {each["key"]: each["status"] for each in ingest("models", "list", "--json", cwd=desk).json["models"]}
    assert [models[key] for key in ("letters", "words", "shared-words")] == ["installed"] * 3


def test_a_command_uses_plugins_by_their_names(desk: Path) -> None:
    models = ["--dense", "letters", "--sparse", "words", "--chunker", "stanzas"]
    ran = ingest("run", "lines:notes.txt", "plays", "-c", "docs", *models, "--json", cwd=desk)
    assert (ran.code, ran.json["written"], ran.json["rejected"]) == (0, 4, 0), ran.err
    assert [model["backend"] for model in ran.json["models"]] == ["plugin", "plugin"]
    again = ingest("run", "lines:notes.txt", "plays", "-c", "docs", *models, "--json", cwd=desk)
    assert (again.json["unchanged"], again.json["models"]) == (4, [])
    query = ["search", "docs", "approves a refund", "--reranker", "shared-words", "--rerank", "on", "--json"]
    found = ingest(*query, cwd=desk).json
    assert found["reranked"]
    assert found["hits"][0]["section"] == ["INT. OFFICE - DAY"]
    assert found["hits"][0]["rerank_score"] == pytest.approx(2 / 3)
    checked = ingest("models", "check", "letters", "--json", cwd=desk).json
    assert (checked["dim"], checked["backend"]) == (27, "plugin")


def test_the_settings_of_a_job_name_plugins(desk: Path) -> None:
    (desk / "ingest.toml").write_text(
        'dense = ["letters"]\nsparse = ["words"]\nreranker = "shared-words"\nchunker = "stanzas"\n'
        '[jobs.notes]\nsource = "lines:notes.txt"\ncollection = "notes"\n'
    )
    synced = ingest("sync", "--json", cwd=desk)
    assert synced.code == 0, synced.err
    found = ingest("search", "notes", "the cat", "--json", cwd=desk).json
    assert found["hits"][0]["doc_id"] == "line 2"
    assert found["reranked"]


def test_a_program_names_plugins(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    chunking = library.ChunkingOptions(chunker="stanzas")
    options = {"models": ["letters", "words"], "chunking": chunking, "reranker": "shared-words"}
    with library.Collection("docs", store=desk / "store", **options) as docs:  # type: ignore[arg-type]
        assert docs.sync(["lines:notes.txt", "plays"]).written == 4
        assert docs.info().chunking == {"tokens": None, "overlap": 0.0, "chunker": "stanzas"}
        assert [hit.doc_id for hit in docs.search("laptops", limit=1, rerank="on")] == ["line 3"]
        play = docs.document("refund.fountain")
        assert play is not None
        stanzas = SCREENPLAY.strip().replace("INT", "## INT").replace("EXT", "## EXT").split("\n\n")
        assert [chunk.text for chunk in play.chunks] == stanzas
        report = docs.verify(["lines:notes.txt", "plays"])
        assert report.clean
    with pytest.raises(library.ManifestMismatchError, match="'chunker': 'stanzas'"):
        library.Collection("docs", store=desk / "store", chunking=library.ChunkingOptions()).sync("lines:notes.txt")


def test_the_template_of_the_documentation_is_in_the_package() -> None:
    page = DEVELOPMENT.read_text(encoding="utf-8").partition("## Write a plugin")[2].partition("\n## ")[0]
    blocks = [block.partition("\n")[2] for block in page.split("```")[1::2]]
    written = (PACKAGE / "ingest_samples.py").read_text() + (PACKAGE / "pyproject.toml").read_text()
    assert len(blocks) == 2
    for block in blocks:
        for part in block.partition("class ")[2].split("\n\n") if "class " in block else [block]:
            assert part.strip() in written
