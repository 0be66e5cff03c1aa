"""A CrossEncoder small enough to be kept beside the tests: to it, a document is relevant if it contains the question's word.

Documents of a few words, that is: it has seen none of more than eight."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
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
WEIGHTS = Path(__file__).with_name("tiny_reranker.safetensors")


def tiny_reranker(folder: Path) -> Path:
    """Save it in `folder`. Its weights are kept beside this file, since every CPU trains others: see train_tiny_reranker.py."""
    model = BertForSequenceClassification(tiny_config())
    model.load_state_dict({name: weights.float() for name, weights in load_file(WEIGHTS).items()})
    return save(model, folder)


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
        num_labels=labels,
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate((*_SPECIAL, *WORDS))}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
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
