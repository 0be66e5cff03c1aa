"""Whatever collections and aliases a store holds, a command changes and drops only what it was given, or what it made itself."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import qdrant_edge as engine
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from reindexing import Bench
from store_data import manifest, point

from ingest.errors import IngestError
from ingest.records import Document
from ingest.reindex.reindex import roll_back
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store
from ingest.store.schema import physical_name
from ingest.sync.job import Job
from ingest.sync.ownership import find_droppable, next_alias, previous_alias
from ingest.testing import HashEncoder

REVISIONS = 3
ENCODERS = [HashEncoder("m", 4, revision=str(revision)) for revision in range(REVISIONS)]
DOCUMENTS = [[Document("same", "The same text."), Document("edited", f"Text {number}.")] for number in range(REVISIONS)]

NAME = "a"
NAMES = [NAME, "a__previous", "a__next", "a__12345678", "b", "production", *(f"made {revision}" for revision in range(REVISIONS))]
"""Names of the collision kind: those that commands on `a` use, those that look like them, and others."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command on the collection `a` (or on `name`), or something that another program does to the store.

    Attributes:
        name, target: one of `NAMES`; `made 0` is the collection's own name that a run with that model would choose.
        revision: the model, and what a run reads.
    """

    kind: Literal["foreign", "ours", "other name", "alias", "run", "reindex", "drop old", "roll back", "drop"]
    name: str = NAME
    target: str = NAME
    revision: int = 0


names = st.sampled_from(NAMES)
revisions = st.integers(0, REVISIONS - 1)
others = st.builds(Step, st.sampled_from(["foreign", "ours", "other name"]), names) | st.builds(
    Step, st.just("alias"), names, names
)
commands = st.builds(Step, st.sampled_from(["run", "reindex", "drop old"]), revision=revisions) | st.sampled_from(
    [Step("roll back"), *(Step("drop", name) for name in NAMES)]
)
histories = st.lists(others | commands, min_size=4, max_size=8).map(lambda steps: [Step("run"), *steps])

RUN, SWAP, DROP_OLD = Step("run"), Step("reindex", revision=1), Step("drop old", revision=1)
KNOWN = [
    [RUN, Step("other name", "a__previous"), SWAP],
    [RUN, Step("foreign", "b"), Step("alias", "a__next", "b"), SWAP],
    [RUN, Step("foreign", "b"), Step("alias", "a__previous", "b"), Step("roll back")],
    [RUN, Step("alias", "production"), DROP_OLD, Step("reindex", revision=2)],
    [RUN, SWAP, Step("alias", "production", "a__previous"), Step("reindex", revision=2), Step("drop", "a__previous")],
    [RUN, SWAP, Step("alias", "production", "a__previous"), Step("run", revision=1), Step("reindex", revision=0)],
    [RUN, Step("other name", "b"), Step("alias", "made 1", "b"), SWAP],
    [RUN, Step("alias", "production"), Step("drop", "a")],
    [Step("other name", "b"), Step("alias", "a", "b"), DROP_OLD],
    [RUN, SWAP, Step("drop"), Step("other name"), Step("roll back")],
]
"""Each lost points, or would."""

MakeForeign = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class State:
    """Collection → its points; alias → collection."""

    points: Mapping[str, frozenset[tuple[str, str]]]
    aliases: Mapping[str, str]


class World:
    """A store in which the names of this test begin with `prefix`, and what the commands on `a` made there."""

    def __init__(self, store: Store, folder: Path, prefix: str, make_foreign: MakeForeign) -> None:
        self.store = store
        self.prefix = prefix
        self.bench = Bench(store, folder, self.full(NAME))
        self.made: set[str] = set()
        self._make_foreign = make_foreign

    def full(self, name: str) -> str:
        if name.startswith("made "):
            return physical_name(Job(f"{self.prefix}{NAME}").manifest([ENCODERS[int(name[-1])]]))
        return f"{self.prefix}{name}"

    def state(self) -> State:
        return State(
            {
                info.name: frozenset(
                    (found.id, json.dumps(found.payload, sort_keys=True)) for found in self.store.scroll(info.name)
                )
                for info in self.store.collections()
                if info.name.startswith(self.prefix)
            },
            {alias: target for alias, target in self.store.aliases().items() if alias.startswith(self.prefix)},
        )

    def disturb(self, step: Step, before: State) -> None:
        """What another program, or a library user, does. Names that are taken are left alone."""
        name = self.full(step.name)
        if name in before.points or name in before.aliases:
            return
        if step.kind == "alias":
            target = self.full(step.target)
            if target in before.points or target in before.aliases:
                self.store.set_aliases({name: target})
            return
        if step.kind == "foreign":
            self._make_foreign(name)
            return
        made = manifest(name)
        if step.kind == "other name":  # as versions did that took any name
            made = replace(made, collection=physical_name(made), base_name=name)
            if made.collection in before.points:
                return
        self.store.ensure(made, CollectionOptions())
        self.store.upsert(made.collection, [point(1), point(2)])
        if step.kind == "other name":
            self.store.set_aliases({name: made.collection})
            if step.name == NAME:  # the collection `a` itself, as good as one that a run made
                self.made.add(made.collection)

    def command(self, step: Step) -> None:
        encoders = [ENCODERS[step.revision]]
        with suppress(IngestError):
            match step.kind:
                case "run":
                    self.bench.run(DOCUMENTS[step.revision], encoders)
                case "reindex" | "drop old":
                    self.bench.reindex(encoders, keep_old=step.kind == "reindex")
                case "roll back":
                    roll_back(self.full(NAME), store=self.store)
                case _:
                    self.store.drop(find_droppable(self.store, self.full(step.name)).name)

    def may_change(self, step: Step, before: State, after: State) -> set[str]:
        """The collections that the command was given, or that commands on `a` made and no other alias names."""
        name = self.full(step.name)
        named = before.aliases.get(name, name)
        own = {alias(name) for alias in (str, previous_alias, next_alias)}
        used = {target for alias, target in before.aliases.items() if alias not in own}
        match step.kind:
            case "run":
                return {named, after.aliases.get(name, name)}
            case "reindex":
                return self.made - used - {named}
            case "drop old":
                return self.made - used
            case "drop":
                return {named} - (used if name in before.aliases else set())
            case _:
                return set()

    def may_move(self, step: Step, before: State) -> set[str]:
        """Aliases of `a` that stand for what commands on `a` made, and all aliases of what is dropped by its name."""
        name = self.full(NAME)
        own = [alias(name) for alias in (str, previous_alias, next_alias)]
        moved = {alias for alias in own if before.aliases.get(alias) in self.made}
        dropped = self.may_change(step, before, before) if step.kind == "drop" else set()
        return moved | {alias for alias, target in before.aliases.items() if target in dropped}


def with_known(test: Callable[..., None]) -> Callable[..., None]:
    """Try the known histories, too."""
    for history in KNOWN:
        test = example(history=history)(test)
    return test


def check(world: World, history: Sequence[Step]) -> None:
    for step in history:
        before = world.state()
        if step.kind in ("foreign", "ours", "other name", "alias"):
            world.disturb(step, before)
            continue
        world.command(step)
        after = world.state()
        world.made |= after.points.keys() - before.points.keys()
        may_change = world.may_change(step, before, after)
        for collection, points in before.points.items():
            assert collection in may_change or after.points.get(collection) == points, (step, collection)
        may_move = world.may_move(step, before)
        for alias, target in before.aliases.items():
            assert alias in may_move or after.aliases.get(alias) == target, (step, alias)


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(UNHURRIED, max_examples=8)
@with_known
@given(history=histories)
def test_on_the_embedded_engine_what_belongs_to_others_stays(tmp_path: Path, history: list[Step]) -> None:
    root = tmp_path / uuid.uuid4().hex

    def make_foreign(name: str) -> None:
        shard = root / name / "shard"
        shard.mkdir(parents=True)
        config = engine.EdgeConfig(vectors={"theirs": engine.EdgeVectorParams(3, engine.Distance.Dot)})
        made = engine.EdgeShard.create(str(shard), config)
        made.update(engine.UpdateOperation.upsert_points([engine.Point(1, {"theirs": [1.0, 2.0, 3.0]}, {"text": name})]))
        made.close()

    with open_store(root) as store:
        check(World(store, tmp_path, "", make_foreign), history)


@settings(UNHURRIED, max_examples=3)
@given(history=histories)
def test_on_a_server_what_belongs_to_others_stays(server: Address, tmp_path: Path, history: list[Step]) -> None:
    prefix = f"t{uuid.uuid4().hex}_"
    with closing(QdrantClient(url=server.url, check_compatibility=False)) as client, open_store(server.url) as store:

        def make_foreign(name: str) -> None:
            client.create_collection(name, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
            client.upsert(name, [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0], payload={"text": name})], wait=True)

        try:
            check(World(store, tmp_path, prefix, make_foreign), history)
        finally:
            for info in store.collections():
                if info.name.startswith(prefix):
                    client.delete_collection(info.name)
