"""Haystack's public tests of filters, in every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import store_data
from haystack.testing.document_store import FilterDocumentsTest
from haystack_filters import FilteredStore

from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store

COLLECTION = "test_haystack_filters"


@pytest.fixture(scope="module", params=["embedded", "server"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    embedded = request.param == "embedded"
    place = tmp_path_factory.mktemp("haystack") if embedded else request.getfixturevalue("server_url")
    with open_store(place) as store:
        store.ensure(store_data.manifest(COLLECTION), CollectionOptions())
        yield store
        store.drop(COLLECTION)


class TestFilters(FilterDocumentsTest):  # type: ignore[misc]
    @pytest.fixture
    def document_store(self, opened: Store) -> FilteredStore:
        opened.delete(COLLECTION, [each.id for each in opened.scroll(COLLECTION, payload=False)])
        return FilteredStore(opened, COLLECTION)
