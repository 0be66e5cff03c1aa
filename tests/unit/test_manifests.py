"""The Kubernetes manifests of the documentation work as they are written: their settings are settings, and let them connect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.settings import load_settings
from ingest.store.server.address import check_key_is_safe, parse_address

PAGES = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
BLOCKS = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)]
MANIFESTS = [yaml.safe_load(block) for block in BLOCKS if "kind:" in block]


def containers(node: Any) -> Iterator[dict[str, Any]]:
    """Every container with an environment, however deep."""
    if isinstance(node, dict):
        if "env" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from containers(each)


def test_there_are_manifests() -> None:
    assert {manifest["kind"] for manifest in MANIFESTS} >= {"CronJob", "RayJob"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: each["kind"])
def test_its_environment_gives_settings_that_let_it_connect(
    manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(containers(manifest))
    assert found
    for container in found:
        with monkeypatch.context() as environment:
            for variable in container["env"]:
                value = variable.get("value", "a-key-from-the-secret")
                if variable["name"] == "INGEST_CONFIG":
                    value = str(tmp_path / "mounted.toml")
                    Path(value).touch()
                environment.setenv(variable["name"], value)
            settings = load_settings({})
        assert settings.api_key is not None
        check_key_is_safe(parse_address(settings.store), None, allow_plain_http_key=settings.allow_plain_http_key)


def test_what_the_cron_job_mounts_is_there() -> None:
    [spec] = [each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in MANIFESTS if each["kind"] == "CronJob"]
    [container] = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in spec["volumes"]}
    variables = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert Path(variables["INGEST_CONFIG"]).parent == Path(mounts["config"])
    assert container["workingDir"] == mounts["work"]
