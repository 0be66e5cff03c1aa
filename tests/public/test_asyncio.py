"""A collection in a program that uses asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import ingest


def test_searches_run_at_the_same_time(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    async def work() -> tuple[ingest.Receipt, list[ingest.Answer]]:
        receipt = await handbook.async_sync(rules, name="rules")
        return receipt, await asyncio.gather(*(handbook.asearch(word, limit=1) for word in ("refunds", "leave", "laptops")))

    receipt, answers = asyncio.run(work())
    assert receipt.written == 3
    assert [answer[0].doc_id for answer in answers] == ["refunds", "leave", "laptops"]


def test_a_cancelled_sync_ends_after_its_window_and_the_next_continues(handbook: ingest.Collection) -> None:
    started = threading.Event()

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            yield {"id": str(number), "text": f"Document {number} speaks of nothing."}
            number += 1

    async def work() -> None:
        task = asyncio.create_task(handbook.async_sync(endless(), name="endless", on_progress=lambda _: started.set()))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    points = handbook.info().points
    assert points > 0
    again = ({"id": str(number), "text": f"Document {number} speaks of nothing."} for number in range(points))
    assert handbook.sync(again, name="endless").chunks.written == 0
