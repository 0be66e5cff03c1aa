"""Trains a late-interaction model for a collection: first on the collection alone, then on the judged questions of a BEIR folder.

    python scripts/train_late.py COLLECTION BEIR_DIR --out models/late
    ingest run SOURCE -c COLLECTION --multivector late
    ingest eval COLLECTION BEIR_DIR --held-out

The model is a small transformer with a projection of each token, which begins as the principal components of the collection's
own tokens. Titles and sentences of the documents are asked first, each of which should find its chunk, then the judged questions.
A question is compared with the chunks of the whole batch by max-sim, and with a hit of the collection that is wrong.
`--warm-up-steps 0 --epochs 0` writes the untrained model: measure that first.

Half of the questions are never trained on, so that the gain can be measured: those that `ingest eval --held-out` asks.
The model is a folder of safetensors that loads by its path; the script prints what `ingest.toml` needs.
"""

from __future__ import annotations

import argparse
import itertools
import random
import string
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch.nn.functional import cross_entropy
from training import askable, base_model, learned_questions, training_parser

from ingest.errors import ConfigurationError, IngestError
from ingest.search import Searcher
from ingest.search.beir import JudgedQueries, load_beir
from ingest.store import open_store

TEMPERATURE = 0.03
"""Temperature of the softmax over the mean similarities of a question's tokens, which are -1 to 1."""

CANDIDATES = 50
"""Hits of a question that its wrong ones are taken from."""

SAMPLED = 256
"""Chunks whose tokens give the first projection."""

LOGGED = 20


@dataclass(frozen=True, slots=True)
class Example:
    """A question, a chunk that it should find, one that it should not, and the documents that are no wrong answers."""

    question: str
    right: str
    wrong: str
    doc_id: str
    wrong_doc_id: str
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Text:
    """A chunk as encoders read it."""

    doc_id: str
    text: str


def main() -> None:
    arguments = _parse()
    torch.manual_seed(arguments.seed)
    dice = random.Random(arguments.seed)
    try:
        questions = load_beir(arguments.beir_dir)
        with open_store(arguments.store) as store, Searcher.open(arguments.collection, store) as searcher:
            chunks = list(_chunks(searcher))
            judged = list(judged_examples(searcher, questions, chunks, dice))
            asked = list(itertools.islice(own_examples(chunks, dice), arguments.warm_up_steps * arguments.batch))
        model = new_model(base_model(arguments.base), [chunk.text for chunk in chunks[:SAMPLED]], arguments)
    except IngestError as error:
        sys.exit(f"error: {error}")
    print(f"warming up on {len(asked)} questions of the collection itself")
    train(model, asked, dice, arguments, rate=arguments.warm_up_rate, epochs=1)
    print(f"training on {len(judged)} examples of {len({each.question for each in judged})} questions")
    train(model, judged, dice, arguments, rate=arguments.learning_rate, epochs=arguments.epochs)
    model.save(str(arguments.out))
    print(
        f"half of the questions were held out: measure it on those. For ingest.toml:\n\n[models.late]\nkind = 'multivector'\n"
        f"path = '{arguments.out}'\ndim = {arguments.dim}\nmax_tokens = {model.max_seq_length}"
    )


def judged_examples(
    searcher: Searcher, questions: JudgedQueries, chunks: Sequence[Text], dice: random.Random
) -> Iterator[Example]:
    """Every relevant document of a question that is not held out, each against a wrong hit of the collection.

    Raises `ConfigurationError` if nothing is left to learn from.
    """
    texts = {chunk.doc_id: chunk.text for chunk in reversed(chunks)}  # the first chunk of each
    learned = learned_questions(questions)
    answers = searcher.search_batch([questions.texts[question] for question in learned], limit=CANDIDATES, late="off")
    empty = True
    for question, hits in zip(learned, answers, strict=True):
        relevant = frozenset(doc_id for doc_id, grade in questions.judgements[question].items() if grade > 0)
        found = {hit.doc_id: hit.text for hit in reversed(hits)}  # the best chunk of each
        wrong = [doc_id for doc_id in found if doc_id not in relevant]
        for doc_id in sorted(relevant & texts.keys()) if wrong else ():
            empty = False
            other = dice.choice(wrong)
            yield Example(questions.texts[question], found.get(doc_id, texts[doc_id]), found[other], doc_id, other, relevant)
    if empty:
        raise ConfigurationError("there is nothing to learn from: judge more questions")


def own_examples(chunks: Sequence[Text], dice: random.Random) -> Iterator[Example]:
    """First lines and sentences of chunks as questions, in random order; never ends."""
    while True:
        for chunk in dice.sample(chunks, len(chunks)):
            sentences = askable(chunk.text)
            other = dice.choice(chunks)
            if sentences and other.doc_id != chunk.doc_id:
                asked = dice.choice(sentences)
                rest = chunk.text.replace(asked, " ", 1)  # so that it is found by its subject, not by its words
                yield Example(asked, rest, other.text, chunk.doc_id, other.doc_id, frozenset({chunk.doc_id}))


def new_model(base: str, texts: Sequence[str], arguments: argparse.Namespace) -> MultiVectorEncoder:
    """Return an untrained model over a transformer."""
    transformer = Transformer(base, max_seq_length=arguments.max_tokens)
    projection = Dense(
        transformer.get_embedding_dimension(),
        arguments.dim,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    mask, unit = MultiVectorMask(list(string.punctuation)), Normalize(module_input_name="token_embeddings")
    tokens = MultiVectorEncoder(modules=[transformer, mask], device=arguments.device)
    rows = torch.cat(tokens.encode_document(list(texts), show_progress_bar=False)).float().cpu()
    projection.linear.weight.data = torch.linalg.svd(rows, full_matrices=False).Vh[: arguments.dim].clone()
    return MultiVectorEncoder(modules=[transformer, projection, mask, unit], device=arguments.device)


def train(
    model: MultiVectorEncoder,
    examples: Sequence[Example],
    dice: random.Random,
    arguments: argparse.Namespace,
    *,
    rate: float,
    epochs: int,
) -> None:
    """Train in place: each question should be nearest to its own chunk of all those in its batch."""
    batches = [batch for _ in range(epochs) for batch in _batches(examples, dice, arguments.batch)]
    if not batches:
        return
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches), pct_start=0.1)
    model.train()
    losses: list[float] = []
    for number, batch in enumerate(batches, start=1):
        loss = _loss(model, batch, arguments.max_length)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if number % LOGGED == 0 or number == len(batches):
            print(f"{number} of {len(batches)} steps, loss {sum(losses[-LOGGED:]) / len(losses[-LOGGED:]):.3f}", flush=True)
    model.eval()


def _batches(examples: Sequence[Example], dice: random.Random, size: int) -> Iterator[list[Example]]:
    """Yield the examples in random order, a question at most once in a batch: its other chunks are no wrong answers."""
    waiting = dice.sample(examples, len(examples))
    while waiting:
        batch: dict[str, Example] = {}
        rest = []
        for each in waiting:
            if len(batch) < size and each.question not in batch:
                batch[each.question] = each
            else:
                rest.append(each)
        waiting = rest
        yield list(batch.values())


def _loss(model: MultiVectorEncoder, batch: Sequence[Example], most: int) -> torch.Tensor:
    questions, asked = _tokens(model, [each.question for each in batch], "query", most)
    chunks, compared = _tokens(model, [*(each.right for each in batch), *(each.wrong for each in batch)], "document", most)
    similarities = torch.einsum("qtd,csd->qcts", questions, chunks)
    best = similarities.masked_fill(~compared[None, :, None, :], -1.0).amax(dim=-1)
    means = (best * asked[:, None, :]).sum(dim=-1) / asked.sum(dim=1)[:, None]
    documents = [*(each.doc_id for each in batch), *(each.wrong_doc_id for each in batch)]
    relevant = torch.tensor(
        [[doc_id in each.relevant and place != row for place, doc_id in enumerate(documents)] for row, each in enumerate(batch)],
        device=means.device,
    )
    logits = (means / TEMPERATURE).masked_fill(relevant, float("-inf"))
    return cross_entropy(logits, torch.arange(len(batch), device=means.device))


def _tokens(model: MultiVectorEncoder, texts: Sequence[str], task: str, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the unit rows of texts, and which of them count."""
    features: dict[str, Any] = model.preprocess(list(texts), task=task, max_length=most)
    moved = {name: value.to(model.device) if isinstance(value, torch.Tensor) else value for name, value in features.items()}
    found = model(moved, task=task)
    return found["token_embeddings"], found["attention_mask"].bool()


def _chunks(searcher: Searcher) -> Iterator[Text]:
    for point in searcher.view().chunks():
        title = point.payload.get("title")
        yield Text(str(point.payload["doc_id"]), f"{title}\n{point.payload['text']}" if title else str(point.payload["text"]))


def _parse() -> argparse.Namespace:
    parser = training_parser(__doc__, "model")
    parser.add_argument("--dim", type=int, default=96, help="numbers of a token's vector")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest chunk that the model takes")
    parser.add_argument("--max-length", type=int, default=160, help="tokens of a text while training")
    parser.add_argument("--warm-up-steps", type=int, default=300, help="batches of the collection's own; 0 for none")
    parser.add_argument("--warm-up-rate", type=float, default=5e-5)
    parser.add_argument("--epochs", type=int, default=3, help="over the judged questions")
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
