"""A tiny real federation: a model folder, a labelled file and a configuration.

The models are a two-layer BERT and a two-layer Llama of 32 dimensions over bytes, made
here and saved as ordinary Hugging Face folders, so that whatever reads folders reads
them. The data is learnable: every class has words of its own.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fedelta.benchmarks.encoders import encoder
from fedelta.protocols import seeds
from fedelta.protocols.settings import Client, Config

CLASSES = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "gully", "heath")
NOISE = ("the", "of", "and", "with", "for", "from")


def model(folder: Path) -> Path:
    """Save a tiny encoder with its tokenizer; the same bytes every time."""
    target = Path(folder) / "model"
    if target.exists():
        return target
    return encoder(Path(folder), 32, 2, heads=2, wide=2)


CHAT = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def lm(folder: Path) -> Path:
    """Save a tiny causal LM (27k parameters) with a tokenizer that can chat."""
    import torch
    from transformers import ByT5Tokenizer, LlamaConfig, LlamaForCausalLM

    target = Path(folder) / "lm"
    if target.exists():
        return target
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=0.2,  # else adapters find nothing to work with
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(target)
    tokenizer = ByT5Tokenizer(extra_ids=0)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(target)
    return target


def lm_config(folder: Path, **overrides: Any) -> Config:
    """A run of the tiny LM on the tiny texts, a client a class, judged by class."""
    given: dict[str, dict[str, Any]] = {
        "model": {"id": str(lm(folder)), "task": "causal-lm"},
        "data": {"partition": "column:label"},
        "train": {"max_length": 48},
        "lora": {"targets": ("all-linear",), "rank": 4, "alpha": 8.0},
        "eval": {"metric": "perplexity"},
    }
    for table, keys in overrides.items():
        given[table] = given.get(table, {}) | dict(keys) if table != "clients" else keys
    return config(folder, **given)


def rows(examples: int, classes: int, seed: int = 0) -> list[dict[str, str]]:
    """Labelled texts, class by class in turn."""
    found = []
    for place in range(examples):
        name = CLASSES[place % classes]
        draw = seeds.words(seeds.key("tiny", seed), 8 * place, 8)
        words = [name[: 2 + int(draw[0] % 3)], NOISE[int(draw[1] % 6)], name]
        order = [words[int(k)] for k in seeds.permutation(int(draw[2]), 3)]
        found.append({"text": f"{' '.join(order)} {int(draw[3] % 90)}", "label": name})
    return found


def data(
    folder: Path,
    examples: int = 160,
    classes: int = 4,
    name: str = "data.jsonl",
    seed: int = 0,
) -> Path:
    """Write a JSONL file with columns ``text`` and ``label``."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in rows(examples, classes, seed)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config(folder: Path, **overrides: Any) -> Config:
    """A run on the tiny model and data: four clients, two rounds.

    Args:
        folder: where model, data and run go; made where missing.
        overrides: by table, such as ``run={"rounds": 1}``; ``clients`` as a list of
            tables replaces the partition.
    """
    folder = Path(folder)
    given: dict[str, dict[str, Any]] = {
        "run": {"name": "tiny", "rounds": 2, "out": str(folder / "run")},
        "model": {"id": str(model(folder))},
        "data": {"source": str(data(folder)), "clients": 4, "alpha": 1.0},
        "train": {"steps": 4, "batch": 8, "learning_rate": 1e-2, "max_length": 24},
        "lora": {"rank": 2, "alpha": 4.0},
    }
    clients = tuple(Client(**one) for one in overrides.pop("clients", ()))
    for table, keys in overrides.items():
        given[table] = given.get(table, {}) | dict[str, Any](_mapping(keys))
    plain = Config(clients=clients)
    tables = {one.name for one in fields(Config)}
    unknown = given.keys() - tables
    if unknown:
        raise KeyError(f"no such table: {sorted(unknown)}")
    return replace(
        plain, **{name: replace(getattr(plain, name), **given[name]) for name in given}
    )


def _mapping(keys: Any) -> Mapping[str, Any]:
    if not isinstance(keys, Mapping):
        raise TypeError("overrides are tables: run={'rounds': 1}")
    return keys
