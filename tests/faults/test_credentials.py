"""Keys, tokens and certificates against a real server: what each lets in, and that no secret is written anywhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import command
import pytest
from command import Outcome, write_jsonl
from endpoint import FakeEndpoint
from qdrant_server import QdrantProcess
from store_data import manifest, point

from ingest.errors import StoreError
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store

KEY = "k3y-that-must-not-be-seen-anywhere"
WRONG = "wr0ng-and-not-to-be-seen-either"
PASSWORD = "hunter2-of-the-source"
BM25 = ("-c", "docs", "--dense", "none", "--name", "corpus")


def openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private authority: `ca.pem`, what it signed for this machine (`server.pem`, `server.key`), and another, `other.pem`."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, folder=folder)
    openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"),
        folder=folder,
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing, folder=folder)
    return folder


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[QdrantProcess]:
    """A real server that wants TLS and either its key or a token that the key signed."""
    settings = {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": str(authority / "server.pem"),
        "QDRANT__TLS__KEY": str(authority / "server.key"),
        "QDRANT__SERVICE__API_KEY": KEY,
        "QDRANT__SERVICE__JWT_RBAC": "true",
    }
    with QdrantProcess(tmp_path_factory.mktemp("qdrant"), settings, ca_file=authority / "ca.pem") as server:
        yield server


@pytest.fixture(scope="module")
def filled(guarded: QdrantProcess, tmp_path_factory: pytest.TempPathFactory) -> QdrantProcess:
    """With the collection `docs`, made by a run."""
    folder = tmp_path_factory.mktemp("filling")
    assert ingest(guarded, "run", corpus(folder), *BM25, cwd=folder).code == 0
    return guarded


def corpus(folder: Path) -> str:
    return str(write_jsonl(folder / "corpus.jsonl", [{"id": "a", "text": "one short text"}, {"id": "b", "text": "another text"}]))


def token(access: Any, **claims: Any) -> str:
    """A JWT as the server's own documentation describes it, signed with the server's key."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    parts = [encoded(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, {"access": access, **claims})]
    signed = ".".join(parts)
    return f"{signed}.{encoded(hmac.digest(KEY.encode(), signed.encode(), hashlib.sha256))}"


def scoped(access: str, *collections: str) -> str:
    return token([{"collection": collection, "access": access} for collection in collections])


def opened(server: QdrantProcess, key: str, *, prefer_grpc: bool = False) -> Store:
    address = server.address
    return open_store(
        address.url, api_key=key, ca_file=server.ca_file, grpc_port=address.grpc_port, prefer_grpc=prefer_grpc, timeout=20
    )


def credentials(server: QdrantProcess, key: str) -> dict[str, str]:
    """The settings, as environment variables, with which the command reaches the server."""
    return {
        "INGEST_STORE": server.address.url,
        "INGEST_GRPC_PORT": str(server.address.grpc_port),
        "INGEST_CA_FILE": str(server.ca_file),
        "INGEST_API_KEY": key,
        "INGEST_RETRY_SECONDS": "1",
    }


def ingest(server: QdrantProcess, *arguments: str, cwd: Path, key: str = KEY, **settings: str) -> Outcome:
    """Run the command with its key in the environment. What it prints is kept in `cwd`."""
    outcome = command.ingest(*arguments, cwd=cwd, **{**credentials(server, key), **settings})
    number = len(list(cwd.glob("*.out")))
    (cwd / f"{number}.out").write_text(outcome.out)
    (cwd / f"{number}.err").write_text(outcome.err)
    return outcome


def titles(server: QdrantProcess, *arguments: str, cwd: Path) -> bytes:
    """Run the command in a process of its own and return how that shows among the processes. All it prints is kept in `cwd`."""
    seen: set[bytes] = set()
    with (
        (cwd / "process.out").open("wb") as printed,
        subprocess.Popen(
            [command.INGEST, *arguments],
            cwd=cwd,
            env=command.environment(**credentials(server, KEY), INGEST_PREFER_GRPC="true"),
            stdout=printed,
            stderr=printed,
        ) as process,
    ):
        while not command.ended(process, 0.05):
            seen.add(Path(f"/proc/{process.pid}/cmdline").read_bytes())
    assert process.returncode == 0
    return b"\n".join(seen)


def assert_one_sentence(outcome: Outcome, *says: str) -> None:
    assert outcome.code == 1
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for words in says:
        assert words in errors[0]


# --- nothing that was written holds a secret


def test_no_secret_is_in_anything_that_is_written(filled: QdrantProcess, tmp_path: Path) -> None:
    source = corpus(tmp_path)
    (tmp_path / "ingest.toml").write_text(
        f'dense = []\n[jobs.good]\nsource = "{source}"\ncollection = "docs"\nname = "corpus"\n'
        f'[jobs.bad]\nsource = "ftp://me:{PASSWORD}@127.0.0.1:9/x.jsonl"\ncollection = "docs"\n'
    )
    telemetry = ("--telemetry", "telemetry.jsonl", "--json")
    codes: dict[int, list[tuple[str, ...]]] = {
        0: [
            ("--debug", "run", source, *BM25, *telemetry),
            ("--debug", "plan", source, *BM25, "--json"),
            ("--debug", "search", "docs", "text", "--json"),
            ("--debug", "collections", "list", "--json"),
            ("--debug", "--show-settings"),
        ],
        1: [("--debug", "sync", "--json")],
    }
    for code, commands in codes.items():
        for arguments in commands:
            outcome = ingest(filled, *arguments, cwd=tmp_path)
            assert outcome.code == code, outcome.err
    shown = titles(filled, "--debug", "run", source, *BM25, *telemetry, cwd=tmp_path)
    assert b"--debug" in shown
    assert KEY.encode() not in shown
    assert ingest(filled, "--debug", "run", source, *BM25, *telemetry, cwd=tmp_path, key=WRONG).code == 1
    assert ingest(filled, "--debug", "search", "docs", "x", cwd=tmp_path, INGEST_STORE="https://127.0.0.1:9").code == 1

    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "ingest.toml"]
    assert {"telemetry.jsonl", "good.json", "bad.json", "batches.json"} <= {path.name for path in written}
    for path in written:
        for secret in (KEY, WRONG, PASSWORD):
            assert secret.encode() not in path.read_bytes(), path
    with opened(filled, KEY) as store:
        assert KEY not in repr(store.manifest("docs"))


def test_no_key_of_a_remote_model_is_in_anything_that_is_written(tmp_path: Path) -> None:
    """The endpoint repeats the key in its errors, as some do."""
    source = corpus(tmp_path)
    with FakeEndpoint(key=KEY) as endpoint:
        far = {"backend": "http", "api": "openai", "url": endpoint.url, "model": "m", "dim": 16, "max_tokens": 64}
        judge = {
            "kind": "reranker",
            "backend": "http",
            "api": "jina",
            "url": endpoint.url,
            "model": "j",
            "api_key_env": "FAR_KEY",
        }
        models = {"far": {**far, "api_key_env": "FAR_KEY"}, "judge": judge}
        settings = {"INGEST_MODELS": json.dumps(models), "INGEST_DENSE": "far", "INGEST_RERANKER": "judge"}
        outcomes = []
        for arguments, key, code in [
            (("run", source, "-c", "docs", "--name", "corpus", "--telemetry", "telemetry.jsonl", "--json"), KEY, 0),
            (("search", "docs", "text", "--rerank", "on", "--json"), KEY, 0),
            (("run", source, "-c", "docs", "--name", "corpus", "--json"), WRONG, 1),
            (("search", "docs", "text", "--json"), WRONG, 1),
            (("models", "check", "far"), WRONG, 1),
            (("models", "list", "--json"), KEY, 0),
            (("collections", "info", "docs", "--json"), KEY, 0),
            (("--show-settings",), KEY, 0),
        ]:
            outcome = command.ingest("--debug", *arguments, cwd=tmp_path, FAR_KEY=key, **settings)
            assert outcome.code == code, outcome.err
            outcomes.append(outcome.out + outcome.err)
        assert endpoint.headers["Authorization"] == f"Bearer {WRONG}"
    assert "Incorrect API key provided" in "".join(outcomes)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for text in [*written, *(each.encode() for each in outcomes)]:
        assert KEY.encode() not in text
        assert WRONG.encode() not in text


def test_what_libraries_log_of_urls_is_cleaned() -> None:
    """They log what they fetch, and a traceback of theirs holds it."""
    code = """
import logging, sys
from ingest.cli import main
try:
    main()
except SystemExit:
    pass
url = "https://me:hunter2@host/x.jsonl?signature=hunter2&more=1"
try:
    raise FileNotFoundError(url)
except FileNotFoundError:
    logging.getLogger("fsspec.http").debug("fetch %s", url, exc_info=True)
logging.getLogger("botocore.auth").debug("x-amz-security-token:hunter2")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "--debug", "--show-settings"],
        env=command.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "https://host/x.jsonl" in done.stderr
    assert "Traceback" in done.stderr
    assert "hunter2" not in done.stderr


# --- certificates


@pytest.mark.parametrize("prefer_grpc", ["false", "true"])
def test_a_private_authority_is_trusted_by_its_file_alone(filled: QdrantProcess, tmp_path: Path, prefer_grpc: str) -> None:
    found = ingest(filled, "search", "docs", "text", "--json", cwd=tmp_path, INGEST_PREFER_GRPC=prefer_grpc)
    assert found.code == 0, found.err
    assert len(found.json["hits"]) == 2
    for file in ("", str(filled.ca_file).replace("ca.pem", "other.pem")):
        outcome = ingest(filled, "search", "docs", "text", cwd=tmp_path, INGEST_PREFER_GRPC=prefer_grpc, INGEST_CA_FILE=file)
        assert_one_sentence(outcome, "certificate")


def test_a_key_does_not_leave_this_machine_unencrypted(filled: QdrantProcess, tmp_path: Path) -> None:
    outcome = ingest(filled, "search", "docs", "text", cwd=tmp_path, INGEST_STORE="http://10.255.255.1:6333")
    assert outcome.code == 2
    assert "unencrypted" in outcome.err


# --- tokens


def test_a_read_only_token_searches_and_does_not_write(filled: QdrantProcess, tmp_path: Path) -> None:
    reading = token("r")
    found = ingest(filled, "search", "docs", "text", "--json", cwd=tmp_path, key=reading)
    assert found.code == 0, found.err
    assert len(found.json["hits"]) == 2
    assert ingest(filled, "plan", corpus(tmp_path), *BM25, cwd=tmp_path, key=reading).code == 0
    new = write_jsonl(tmp_path / "new.jsonl", [{"id": "new", "text": "a text that was not there"}])
    assert_one_sentence(
        ingest(filled, "run", str(new), *BM25, cwd=tmp_path, key=reading), "what the key may do", "access is required"
    )
    with opened(filled, KEY) as store:
        assert store.count("docs") == 2


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": int(time.time()) - 3600}, id="expired"),
        pytest.param({"value_exists": {"collection": "docs", "matches": [{"key": "x", "value": "y"}]}}, id="revoked"),
    ],
)
def test_a_token_that_is_over_is_refused(filled: QdrantProcess, claims: Mapping[str, Any]) -> None:
    with pytest.raises(StoreError, match="API key") as caught, opened(filled, token("r", **claims)) as store:
        store.count("docs")
    assert type(caught.value) is StoreError


@pytest.mark.parametrize("prefer_grpc", [False, True])
@pytest.mark.parametrize("named", ["alias", "collection", "both"])
def test_a_token_for_one_collection_is_enough_to_keep_it(
    guarded: QdrantProcess, collection: str, named: str, prefer_grpc: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes by the name in the request: a token for the alias knows the collection by it alone."""
    caplog.set_level(logging.WARNING, "ingest")
    physical = f"{collection}__1"
    with opened(guarded, KEY) as store:
        store.ensure(manifest(physical), CollectionOptions())
        store.set_aliases({collection: physical})
        store.ensure(manifest(f"{collection}_other"), CollectionOptions())
    allowed = {"alias": [collection], "collection": [physical], "both": [collection, physical]}[named]
    with opened(guarded, scoped("rw", *allowed), prefer_grpc=prefer_grpc) as store:
        for name in allowed:
            assert store.ensure(manifest(name), CollectionOptions()).vectors
            store.defer_indexing(name)
            store.upsert(name, [point(1), point(2)])
            store.delete(name, [point(2).id])
            store.finalize(name)
            assert store.count(name) == 1
        for refused in {collection, physical, f"{collection}_other"} - set(allowed):
            with pytest.raises(StoreError, match=f"Access to collection {refused} is required") as caught:
                store.count(refused)
            assert type(caught.value) is StoreError
            assert "INGEST_API_KEY" in str(caught.value)
    assert "the run may take longer" in caplog.text
    with opened(guarded, scoped("r", *allowed), prefer_grpc=prefer_grpc) as store:
        assert store.count(allowed[0]) == 1
        with pytest.raises(StoreError, match="Write access to collection"):
            store.upsert(allowed[0], [point(3)])


def test_the_command_does_with_a_token_for_the_name_alone(filled: QdrantProcess, tmp_path: Path) -> None:
    """`docs` is an alias, as of every collection that a run makes, and all that its user knows."""
    found = ingest(filled, "search", "docs", "text", "--json", cwd=tmp_path, key=scoped("r", "docs"))
    assert found.code == 0, found.err
    assert len(found.json["hits"]) == 2
    ran = ingest(filled, "run", corpus(tmp_path), *BM25, "--json", cwd=tmp_path, key=scoped("rw", "docs"))
    assert ran.code == 0, ran.err
    assert (ran.json["unchanged"], ran.json["balanced"]) == (2, True)
    elsewhere = ingest(
        filled, "run", corpus(tmp_path), "-c", "new", "--dense", "none", cwd=tmp_path, key=scoped("rw", "docs", "new")
    )
    assert_one_sentence(elsewhere, "what the key may do", "is required")
