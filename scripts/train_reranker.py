"""Trains a reranker for a collection: first on the collection alone, then on the judged questions of a BEIR folder.

    python scripts/train_reranker.py COLLECTION BEIR_DIR --out models/reranker
    ingest eval COLLECTION BEIR_DIR --held-out --rerank on --reranker models/reranker

A few hundred judgements do not teach a model to read pairs. So it is warmed up without any: titles and sentences of the documents
are asked as questions, and it learns to give what is found the place that the fusion gave it. Then it learns from the judgements
what the fusion does not know, against wrong hits of the collection itself.

Half of the questions are never trained on, so that the gain can be measured: those that `ingest eval --held-out` asks.
Needs the extra `train`: `pip install 'qdrant-ingest[train]'`. A reranker is a folder of safetensors that loads by its path.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from training import askable, base_model, learned_questions, training_parser
from transformers import set_seed

from ingest.errors import ConfigurationError, IngestError
from ingest.records import Hit, StoredPoint
from ingest.search import Searcher
from ingest.search.beir import JudgedQueries, load_beir
from ingest.search.fusion import RRF_K
from ingest.search.rerank import text_to_read
from ingest.search.shown import SHOWN
from ingest.store import open_store
from ingest.store.contract import Condition, Store

CANDIDATES = 100
"""Hits of a judged question that its negatives are taken from."""

IMITATED = 60
"""Hits of a title or sentence that it is shown with a few of, and of which those are the best."""
NEAREST = 8

ASKED_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a text, and how relevant the text is to it, 0 to 1."""

    query: str
    text: str
    label: float


def main() -> None:
    arguments = _parse()
    set_seed(arguments.seed)
    dice = random.Random(arguments.seed)
    try:
        questions = load_beir(arguments.beir_dir)
        with open_store(arguments.store) as store, Searcher.open(arguments.collection, store) as searcher:
            judged = list(judged_pairs(searcher, store, questions, negatives=arguments.negatives))
            endless = imitation_pairs(searcher, store, dice)
            imitated = list(itertools.islice(endless, arguments.warm_up_steps * arguments.batch))
        base = base_model(arguments.base)
    except IngestError as error:
        sys.exit(f"error: {error}")
    model = CrossEncoder(base, num_labels=1, max_length=arguments.max_length, device=arguments.device)
    if imitated:
        print(f"warming up {base} on {len(imitated)} pairs of the collection itself")
        train(model, imitated, arguments, rate=arguments.warm_up_rate, epochs=1.0, balance=1.0)
    relevant = sum(pair.label > 0 for pair in judged)
    print(f"training on {len(judged)} pairs, {relevant} of them relevant")
    balance = max(1.0, len(judged) / max(1, relevant) - 1)
    train(model, judged, arguments, rate=arguments.learning_rate, epochs=arguments.epochs, balance=balance)
    model.save_pretrained(str(arguments.out), safe_serialization=True)
    print(f"a reranker is in {arguments.out}; half of the questions were held out: measure it on those")


def judged_pairs(searcher: Searcher, store: Store, questions: JudgedQueries, *, negatives: int) -> Iterator[Pair]:
    """Of every question that is not held out: its relevant documents, and the best hits of the fusion that are not relevant.

    A label is the judgement's grade, 1 for the best there is. Every chunk of a relevant document that was found counts as
    relevant, or its first where none was found. Raises `ConfigurationError` if nothing is left to learn from.
    """
    best = max(grade for judged in questions.judgements.values() for grade in judged.values())
    learned = learned_questions(questions)
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


def imitation_pairs(searcher: Searcher, store: Store, dice: random.Random) -> Iterator[Pair]:
    """Titles and sentences of the documents with some of what the fusion finds for them, in random order; never ends.

    A label is where between the last hit and the best possible score the fusion saw the text; 0 for one of another question.
    """
    points = list(store.scroll(searcher.manifest.collection, SHOWN, payload=["title", "text", "chunk"]))
    best = sum(searcher.manifest.weights.get(spec.name, 1.0) for spec in searcher.manifest.vectors) / RRF_K
    stranger = ""
    while True:
        dice.shuffle(points)
        asked = [question for point in points for question in _questions_from(point, dice)]
        if not asked:
            return
        for start in range(0, len(asked), ASKED_TOGETHER):
            together = asked[start : start + ASKED_TOGETHER]
            for question, hits in zip(together, searcher.search_batch(together, limit=IMITATED, fusion="rrf"), strict=True):
                if len(hits) < 2:
                    continue
                for hit in _some(hits[:NEAREST], dice) + _some(hits[NEAREST:], dice):
                    yield Pair(question, text_to_read(hit), (hit.score - hits[-1].score) / (best - hits[-1].score))
                if stranger:
                    yield Pair(question, stranger, 0.0)
                stranger = text_to_read(dice.choice(hits))


def _questions_from(point: StoredPoint, dice: random.Random) -> list[str]:
    """Return the title, once per document, and a sentence other than the first, which is often the title again."""
    title = [point.payload["title"]] if point.payload.get("title") and point.payload.get("chunk") == 0 else []
    text = str(point.payload["text"])
    sentences = [each for each in askable(text) if not text.startswith(each)]
    return title + ([dice.choice(sentences)] if sentences else [])


def _some(hits: Sequence[Hit], dice: random.Random) -> list[Hit]:
    return dice.sample(hits, min(2, len(hits)))


def train(
    model: CrossEncoder, pairs: Sequence[Pair], arguments: argparse.Namespace, *, rate: float, epochs: float, balance: float
) -> None:
    """Trains in place, with a sigmoid behind the one output: scores are 0 to 1. `balance`: what a relevant text counts more."""
    rows = {name: [getattr(pair, name) for pair in pairs] for name in ("query", "text", "label")}
    with tempfile.TemporaryDirectory() as unused:  # the trainer wants a folder even where it saves nothing on the way
        settings = CrossEncoderTrainingArguments(
            output_dir=unused,
            num_train_epochs=epochs,
            per_device_train_batch_size=arguments.batch,
            learning_rate=rate,
            warmup_steps=0.1,
            bf16=arguments.bf16,
            use_cpu=model.device.type == "cpu",
            save_strategy="no",
            report_to=[],
            logging_steps=20,
            seed=arguments.seed,
        )
        loss = BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(balance, device=model.device))
        CrossEncoderTrainer(model=model, args=settings, train_dataset=Dataset.from_dict(rows), loss=loss).train()


def _first_chunk(searcher: Searcher, store: Store, doc_id: str) -> list[str]:
    """Of a document that was not found; none if the collection does not have it."""
    wanted = [*SHOWN, Condition("doc_id", "eq", doc_id), Condition("chunk", "eq", 0)]
    return [
        text_to_read(Hit(point.id, 0.0, point.payload["text"], doc_id, point.payload.get("title"), "", 0, 0, 0, {}, {}, 0.0))
        for point in store.scroll(searcher.manifest.collection, wanted)
    ]


def _parse() -> argparse.Namespace:
    parser = training_parser(__doc__, "reranker")
    parser.add_argument(
        "--warm-up-steps", type=int, default=1000, help="batches of the collection's own; 0 for a trained reranker"
    )
    parser.add_argument("--warm-up-rate", type=float, default=1e-4)
    parser.add_argument("--negatives", type=int, default=3, help="wrong hits per relevant document")
    parser.add_argument("--epochs", type=float, default=2.0, help="over the judged questions")
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--max-length", type=int, default=256, help="tokens of question and text together")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16: faster where the hardware has it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
