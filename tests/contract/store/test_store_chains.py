"""Methods of a server's store that make a chain of requests: each request is retried by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from faulty_proxy import Fault, FaultyProxy
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from store_data import manifest, point

from ingest.errors import CollectionNotFoundError, StoreUnavailableError
from ingest.retry import RetryPolicy
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store
from ingest.store.schema import INDEXED_FIELDS

OPTIONS = CollectionOptions()
TWICE = RetryPolicy(attempts=2, first=0, longest=0)


@pytest.fixture
def proxy(server: Address) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.url, lambda _: None) as proxy:
        yield proxy


@pytest.fixture
def unreliable(proxy: FaultyProxy, fault: Fault) -> Iterator[Store]:
    """Once it is open, every second request fails."""
    with open_store(proxy.url, retry=TWICE) as store:
        proxy.cue = lambda seen: fault if seen.number % 2 else None
        yield store


each_fault = pytest.mark.parametrize("fault", [Fault.CUT, Fault.LOST])


@each_fault
def test_every_chain_reaches_its_end(unreliable: Store, proxy: FaultyProxy, collection: str) -> None:
    wanted = replace(manifest(collection), weights={"dense": 2.0})
    assert unreliable.ensure(manifest(collection), OPTIONS) == unreliable.ensure(manifest(collection), OPTIONS)
    unreliable.set_aliases({f"{collection}_alias": collection, f"{collection}_other": collection})
    assert unreliable.aliases()[f"{collection}_alias"] == collection
    unreliable.write_manifest(replace(wanted, collection=f"{collection}_alias"))
    assert unreliable.manifest(collection).weights == {"dense": 2.0}
    unreliable.defer_indexing(collection)
    unreliable.upsert(collection, [point(1)])
    unreliable.finalize(collection)
    unreliable.update_notes(collection, {"note": 1})
    assert unreliable.notes(collection) == {"note": 1}
    [info] = [info for info in unreliable.collections() if info.name == collection]
    assert (info.points, info.problem) == (1, None)
    unreliable.set_aliases({f"{collection}_other": None})
    unreliable.drop(f"{collection}_alias")
    with pytest.raises(CollectionNotFoundError):
        unreliable.drop(collection)
    assert len(proxy.struck) > 20


@each_fault
def test_a_collection_made_like_another_is_made_whole(
    server: Address, unreliable: Store, collection: str, proxy: FaultyProxy
) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    unreliable.ensure(manifest(collection), OPTIONS)
    keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True)
    client.delete_payload_index(collection, "source")
    client.create_payload_index(collection, "source", keyword)
    copy = f"{collection}_copy"
    unreliable.ensure(manifest(copy), OPTIONS)
    struck = len(proxy.struck)
    unreliable.ensure(manifest(copy), OPTIONS, like=collection)
    schema = client.get_collection(copy).payload_schema
    assert schema.keys() == INDEXED_FIELDS.keys()
    assert schema["source"].params == client.get_collection(collection).payload_schema["source"].params
    assert len(proxy.struck) - struck >= 5
    unreliable.drop(copy)
    unreliable.drop(collection)
    client.close()


def test_a_request_that_never_passes_is_tried_no_more_often_than_the_policy_says(server: Address, collection: str) -> None:
    with FaultyProxy(server.url, lambda seen: Fault.CUT if "/aliases" in seen.path else None) as proxy:
        with open_store(proxy.url, retry=TWICE) as store, pytest.raises(StoreUnavailableError, match="gave up after 2 attempts"):
            store.ensure(manifest(collection), OPTIONS)
        assert len(proxy.struck) == 2
