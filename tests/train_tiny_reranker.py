"""Trains the weights that `tiny_reranker` reads, and keeps them beside the tests: `python tests/train_tiny_reranker.py`.

Another CPU gives slightly other weights. So they are trained here once, and no test trains any.
"""

from __future__ import annotations

import random

import torch
from safetensors.torch import save_file
from tiny_reranker import WEIGHTS, WORDS, tiny_config, tiny_tokenizer
from transformers import BertForSequenceClassification

STEPS = 1500
BATCH = 64
RATE = 2e-3
DECAY = 0.05
SEED = 1


def train() -> BertForSequenceClassification:
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = tiny_tokenizer()
    model = BertForSequenceClassification(tiny_config())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        known = [rng.sample(WORDS, rng.randrange(3)) for _ in range(BATCH)]
        asked = [rng.choice(words if words and rng.random() < 1 / 2 else WORDS) for words in known]
        documents = [words + ["other"] * rng.randrange(1, 7) for words in known]
        wanted = [float(word in document) for word, document in zip(asked, documents, strict=True)]
        for document in documents:
            rng.shuffle(document)
        queries = [" ".join(["other"] * rng.randrange(4) + [word] + ["other"] * rng.randrange(3)) for word in asked]
        features = tokenizer(queries, [" ".join(document) for document in documents], padding=True, return_tensors="pt")
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**features).logits[:, 0], torch.tensor(wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)  # operations as small as these lose by being shared out
    save_file({name: weights.half().contiguous() for name, weights in train().state_dict().items()}, WEIGHTS)
