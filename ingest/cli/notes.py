"""Notes of a search that are printed once on a machine."""

from __future__ import annotations

import re
from pathlib import Path

from ingest.search.answer import Answer


def shown_note(answer: Answer, directory: Path) -> str | None:
    """Return the note to print with an answer. If a reranker is missing, that is one line the first time, and None after that.

    Args:
        directory: folder that remembers, for each reranker of this machine, that it was told. If it cannot be written, the line
            comes each time.
    """
    if answer.missing_reranker is None:
        return answer.note
    told = directory / "told" / f"missing-{re.sub(r'[^A-Za-z0-9.-]', '_', answer.missing_reranker)}"
    try:
        told.parent.mkdir(parents=True, exist_ok=True)
        told.touch(exist_ok=False)
    except FileExistsError:
        return None
    except OSError:
        pass
    return f"not reranked: get the reranker with 'ingest models pull {answer.missing_reranker}' (told once; --verbose says more)"
