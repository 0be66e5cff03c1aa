"""A CrossEncoder small enough to be trained inside a test: to it, a document is relevant if it contains the question's word.

Documents of a few words, that is: it has seen none of more than eight."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from ingest.records import Hit

WORDS = ("chair", "table", "lamp", "clock", "desk", "shelf", "mirror", "carpet")
"""What it knows. Every other word is the same to it, and as good as none."""

MAX_TOKENS = 64

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_STEPS = 400
_BATCH = 64


def train_tiny_reranker(folder: Path) -> Path:
    """Trains it, in seconds and always the same, and saves it in `folder`: scores of 0 to 1."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # operations as small as these lose by being shared out, ten times over on a busy machine
    model = _trained()
    torch.set_num_threads(threads)
    return save(model, folder)


def _trained() -> BertForSequenceClassification:
    dice = random.Random(0)
    tokenizer = tiny_tokenizer()
    model = BertForSequenceClassification(tiny_config())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(_STEPS):
        known = [dice.sample(WORDS, dice.randrange(3)) for _ in range(_BATCH)]
        asked = [dice.choice(words if words and dice.random() < 1 / 2 else WORDS) for words in known]
        documents = [words + ["other"] * dice.randrange(1, 7) for words in known]
        wanted = [float(word in document) for word, document in zip(asked, documents, strict=True)]
        for document in documents:
            dice.shuffle(document)
        questions = [" ".join(["other"] * dice.randrange(4) + [word] + ["other"] * dice.randrange(3)) for word in asked]
        features = tokenizer(questions, [" ".join(document) for document in documents], padding=True, return_tensors="pt")
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**features).logits[:, 0], torch.tensor(wanted))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def tiny_config(labels: int = 1) -> BertConfig:
    return BertConfig(
        vocab_size=len(_SPECIAL) + len(WORDS),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.15,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=labels,  # type: ignore[call-arg]
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate((*_SPECIAL, *WORDS))}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def save(model: BertForSequenceClassification, folder: Path) -> Path:
    """Any of these models with the tokenizer."""
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


TEXTS = (
    "a red table and a clock",
    "an old lamp",
    "a mirror, a desk",
    "one blue chair",
    "shelf and carpet",
    "no furniture at all",
)


def hit(number: int, text: str, title: str | None = None) -> Hit:
    return Hit(
        id=f"{number}",
        score=1 / (60 + number),
        text=text,
        doc_id=f"document {number}",
        title=title,
        source="test",
        chunk=0,
        start=0,
        end=len(text),
        metadata={},
        ranks={"bm25": number + 1},
        fused_score=1 / (60 + number),
    )


HITS = tuple(hit(number, text) for number, text in enumerate(TEXTS))
