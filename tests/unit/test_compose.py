"""The compose file: what can be known of it without Docker."""

from __future__ import annotations

from pathlib import Path

import yaml
from qdrant_server import IMAGE

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())


def test_it_pins_the_server_that_the_tests_run_against() -> None:
    assert COMPOSE["services"]["qdrant"]["image"] == IMAGE


def test_it_listens_on_this_machine_alone_and_keeps_its_data() -> None:
    service = COMPOSE["services"]["qdrant"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["volumes"] == ["qdrant:/qdrant/storage"]
    assert "qdrant" in COMPOSE["volumes"]


def test_an_api_key_is_passed_on_only_if_it_is_set() -> None:
    assert COMPOSE["services"]["qdrant"]["environment"]["QDRANT__SERVICE__API_KEY"] is None
