"""Trains a reranker on the judged questions of a BEIR folder, against wrong hits of the collection itself.

    python scripts/train_reranker.py COLLECTION BEIR_DIR --out models/reranker
    ingest search COLLECTION "a question" --rerank on        with the folder as the reranker

Half of the questions are never trained on, so that the gain can be measured: those that `ingest eval --held-out` asks.
Needs the extra `train`: `pip install 'qdrant-ingest[train]'`. A reranker is a folder of safetensors that loads by its path.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from transformers import set_seed

from ingest.encode.registry import KAGGLE_OPTIMIZED_MODELS
from ingest.encode.resolve import resolve
from ingest.errors import ConfigurationError, IngestError
from ingest.records import Hit
from ingest.search import Searcher
from ingest.search.beir import Questions, is_held_out, load_beir
from ingest.search.rerank import text_to_read
from ingest.search.searcher import DEFAULT_STORE
from ingest.store import open_store
from ingest.store.contract import Condition, Store

DEFAULT_BASE = "all-miniLM-l6"
CANDIDATES = 100
"""Hits of a question that its negatives are taken from."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a text, and how relevant the text is to it: 0 to 1, 1 for the best grade of the judgements."""

    query: str
    text: str
    label: float


def main() -> None:
    arguments = _parse()
    set_seed(arguments.seed)
    try:
        questions = load_beir(arguments.beir_dir)
        with open_store(arguments.store) as store, Searcher.open(arguments.collection, store) as searcher:
            pairs = list(training_pairs(searcher, store, questions, negatives=arguments.negatives))
        base = _base(arguments.base)
    except IngestError as error:
        sys.exit(f"error: {error}")
    positives = sum(pair.label > 0 for pair in pairs)
    print(f"{len(pairs)} pairs, {positives} of them relevant; training on {base}")
    train(base, pairs, arguments)
    print(f"a reranker is in {arguments.out}; half of the questions were held out: measure it on those")


def training_pairs(searcher: Searcher, store: Store, questions: Questions, *, negatives: int) -> Iterator[Pair]:
    """Of every question that is not held out: its relevant documents, and the best hits of the fusion that are not relevant.

    Every chunk of a relevant document that was found counts as relevant, or its first where none was found. Raises
    `ConfigurationError` if nothing is left to learn from.
    """
    best = max(grade for judged in questions.judgements.values() for grade in judged.values())
    learned = [question for question in questions.texts if not is_held_out(question)]
    if best <= 0 or not learned:
        raise ConfigurationError("there is nothing to learn from: judge more questions")
    for question in learned:
        text, judged = questions.texts[question], questions.judgements[question]
        hits = searcher.search(text, limit=CANDIDATES)
        texts = {id_: [text_to_read(hit) for hit in hits if hit.doc_id == id_] for id_, grade in judged.items() if grade > 0}
        for id_, found in texts.items():
            for candidate in found or _first_chunk(searcher, store, id_):
                yield Pair(text, candidate, judged[id_] / best)
        wrong = (hit for hit in hits if hit.doc_id not in texts)
        yield from (Pair(text, text_to_read(hit), 0.0) for hit in itertools.islice(wrong, negatives * max(1, len(texts))))


def train(base: str, pairs: Sequence[Pair], arguments: argparse.Namespace) -> None:
    """Writes the model to `arguments.out`, with a sigmoid behind its one output: scores are 0 to 1."""
    model = CrossEncoder(base, num_labels=1, max_length=arguments.max_length, device=arguments.device)
    rows = {name: [getattr(pair, name) for pair in pairs] for name in ("query", "text", "label")}
    irrelevant = sum(pair.label == 0 for pair in pairs)
    balance = torch.tensor(max(1.0, irrelevant / max(1, len(pairs) - irrelevant)), device=model.device)
    with tempfile.TemporaryDirectory() as unused:  # the trainer wants a folder even where it saves nothing on the way
        settings = CrossEncoderTrainingArguments(
            output_dir=unused,
            num_train_epochs=arguments.epochs,
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.batch,
            learning_rate=arguments.learning_rate,
            warmup_steps=0.1,
            use_cpu=model.device.type == "cpu",
            save_strategy="no",
            report_to=[],
            logging_steps=20,
            seed=arguments.seed,
        )
        loss = BinaryCrossEntropyLoss(model, pos_weight=balance)
        CrossEncoderTrainer(model=model, args=settings, train_dataset=Dataset.from_dict(rows), loss=loss).train()
    model.save_pretrained(str(arguments.out), safe_serialization=True)


def _first_chunk(searcher: Searcher, store: Store, doc_id: str) -> list[str]:
    """Of a document that was not found; none if the collection does not have it."""
    wanted = [Condition("doc_id", "eq", doc_id), Condition("chunk", "eq", 0)]
    return [
        text_to_read(Hit(point.id, 0.0, point.payload["text"], doc_id, point.payload.get("title"), "", 0, 0, 0, {}, {}, 0.0))
        for point in store.scroll(searcher.manifest.collection, wanted)
    ]


def _base(name: str) -> str:
    """A registry key, resolved like any model; a folder or a hub id as it is."""
    config = KAGGLE_OPTIMIZED_MODELS.get(name)
    return str(resolve(config).folder) if config else name


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("collection")
    parser.add_argument("beir_dir", type=Path, help="folder with queries.jsonl and qrels/test.tsv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the reranker to")
    parser.add_argument("--store", default=DEFAULT_STORE, help="of the collection: a folder or a URL")
    parser.add_argument("--base", default=DEFAULT_BASE, help="model to start from: a folder, a hub id, or a registry key")
    parser.add_argument("--negatives", type=int, default=4, help="wrong hits per relevant document")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many, whatever the epochs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--max-length", type=int, default=256, help="tokens of question and text together")
    parser.add_argument("--device", help="such as cuda:0; chosen if not given")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
