"""What OpenVINO cannot compute in int8 is computed in float32, from the first vector on, and stays so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from command import ingest, write_jsonl
from corpus import python_topics
from sentence_transformers import SentenceTransformer
from tiny_models import DIM, tiny_dense


def _too_coarse_in_int8(folder: Path) -> Path:
    """One activation is so large that nothing else is left of its layer where eight bits must hold them all."""
    model = SentenceTransformer(str(tiny_dense(folder / "base")), device="cpu")
    transformer: Any = model[0]
    layer = transformer.model.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.weight *= 30
        layer.intermediate.dense.bias[0] = 1e5
        layer.output.dense.weight *= 100
        layer.output.dense.weight[:, 0] = 0
    model.save(str(folder / "coarse"))
    return folder / "coarse"


def test_a_model_too_coarse_in_int8_falls_back_to_float32_for_good(tmp_path: Path) -> None:
    folder = _too_coarse_in_int8(tmp_path / "models")
    settings = f'dense = ["coarse"]\nsparse = []\n[models.coarse]\npath = "{folder}"\ndim = {DIM}\nmax_tokens = 256\n'
    (tmp_path / "ingest.toml").write_text(settings)
    source = write_jsonl(tmp_path / "topics.jsonl", python_topics(40, 500))

    first = ingest("run", str(source), "-c", "topics", "--backend", "openvino", "--json", cwd=tmp_path)
    assert first.code == 0, first.err
    assert "too inaccurate in int8" in first.err
    [model] = first.json["models"]
    assert (model["backend"], model["dtype"], first.json["balanced"]) == ("openvino", "float32", True)

    again = ingest("run", str(source), "-c", "topics", "--json", cwd=tmp_path)
    assert (again.code, again.json["unchanged"]) == (0, 40), again.err

    strict = ingest("run", str(source), "-c", "strict", "--precision", "int8", "--json", cwd=tmp_path)
    assert strict.code == 1
    assert json.loads(strict.out)["type"] == "PrecisionError"
