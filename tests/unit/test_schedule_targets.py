"""No two jobs write one source of one collection."""

from __future__ import annotations

import pytest

from ingest.errors import ConfigurationError
from ingest.schedule.targets import check_targets, job_targets


def test_jobs_that_write_different_sources_are_accepted() -> None:
    check_targets(
        {
            "notes": job_targets("docs", ["notes/", "more/"], name=None, query=None),
            "other collection": job_targets("archive", ["notes/"], name=None, query=None),
            "shop": job_targets("docs", ["sqlite:///shop.db"], name=None, query="SELECT * FROM articles"),
            "customers": job_targets("docs", ["sqlite:///shop.db"], name=None, query="SELECT * FROM customers"),
            "renamed": job_targets("docs", ["notes/"], name="copy", query=None),
        }
    )


@pytest.mark.parametrize(
    ("locations", "name", "source"), [(["other/", "notes/"], None, "notes/"), (["elsewhere/"], "notes/", "notes/")]
)
def test_two_jobs_that_write_one_source_are_refused(locations: list[str], name: str | None, source: str) -> None:
    targets = {
        "first": job_targets("docs", ["notes/"], name=None, query=None),
        "second": job_targets("docs", locations, name=name, query=None),
    }
    with pytest.raises(ConfigurationError, match=f"the jobs first and second both write the source {source} of docs"):
        check_targets(targets)
