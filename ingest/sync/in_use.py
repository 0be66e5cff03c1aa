"""Writes to a collection that a reindex may swap out: none is left behind in it.

    reindex   sets the alias `NAME__swap` of the live collection, copies what is missing, and swaps only if the alias exists
    writer    writes, and only then looks for the alias: it waits for the swap, and writes again to the collection that was
              swapped in; or it removes the alias, so that the reindex copies again

So the writer always notices a write that the last copy missed. An alias that was left by a crash delays each writer once at most:
the first one that has waited removes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ingest.store.contract import Store
from ingest.sync.ownership import swap_aliases_of

SWAP_SECONDS = 10.0
"""Maximum wait of a writer for a reindex that is about to swap. Longer than the last copy of about 100,000 points takes."""

_POLL_SECONDS = 0.05


def stays_in_use(store: Store, name: str, collection: str, *, wait: float = SWAP_SECONDS) -> bool:
    """Return whether `name` stands for a collection, and a later reindex copies everything that is written to it by now.

    `wait`: seconds to wait for a reindex that is about to swap it.
    """
    deadline = time.monotonic() + wait
    aliases = store.aliases()
    while swaps := swap_aliases_of(aliases, collection):
        if time.monotonic() >= deadline:
            store.set_aliases(dict.fromkeys(swaps))
            aliases = store.aliases()
            break
        time.sleep(_POLL_SECONDS)
        aliases = store.aliases()
    return aliases.get(name, name) == collection


def collections_to_write(store: Store, name: str) -> Iterator[str]:
    """Yield the collection that `name` stands for, and after the caller wrote to it, the one that was swapped in meanwhile."""
    while True:
        collection = store.aliases().get(name, name)
        yield collection
        if stays_in_use(store, name, collection):
            return
