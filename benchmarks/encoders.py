"""An encoder of any size over bytes, as a Hugging Face folder, and texts for it."""

import json
from pathlib import Path

LABELS = ("amber", "birch", "cobalt", "dune")


def encoder(
    folder: Path, hidden: int, layers: int, *, heads: int = 4, wide: int = 4
) -> Path:
    """Save a BERT whose weights are drawn here; the same bytes every time.

    Args:
        folder: it goes to ``model`` in it.
        hidden: its width: 12 hidden^2 parameters a layer.
        layers: how many.
        heads: of attention, in each.
        wide: how many times its width the layers' inner one is.
    """
    import torch
    from transformers import BertConfig, BertModel, ByT5Tokenizer
    from transformers.utils import logging

    target = folder / "model"
    config = BertConfig(
        vocab_size=259,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=wide * hidden,
        max_position_embeddings=64,
    )
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        BertModel(config).save_pretrained(target)
    ByT5Tokenizer(extra_ids=0).save_pretrained(target)
    return target


def texts(folder: Path, name: str, count: int) -> Path:
    """Write so many labelled texts."""
    rows = [
        {"text": f"{LABELS[at % 4]} {at:04d}", "label": LABELS[at % 4]}
        for at in range(count)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def run_file(path: Path, model: Path, test: Path, more: str) -> Path:
    """The run's file, as a coordinator writes it: whole models, as float32.

    Args:
        path: where it goes.
        model: the encoder's folder.
        test: the server's test set.
        more: further tables.
    """
    path.write_text(
        f'[data]\nsource = ""\nlabels = {json.dumps(LABELS)}\n'
        f"test = {json.dumps(str(test))}\n"
        f'[model]\nid = {json.dumps(str(model))}\nhead = "linear"\n{more}',
        "utf-8",
    )
    return path
