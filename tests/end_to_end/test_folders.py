"""What a run writes, loaded by transformers and peft alone, gives the run's outputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional

from fedelta.client import data, models
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import checks, simulations
from tests import tiny

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"  # peft's, of transformers' names
)

TEXTS = ["amber of the 7", "the cobalt and birch", "dune"]


def ran(folder: Path, config: Config) -> tuple[Path, dict[str, Any]]:
    """A run, and its model's folder."""
    summary = simulations.simulate(config, workers=0)
    return Path(config.run.out) / "model", summary


def ours(config: Config) -> models.Base:
    """The base with the run's updates folded in, as the run's server had it."""
    from contextlib import closing

    from fedelta.server.recordings import Recording, bring
    from fedelta.server.records import Record
    from fedelta.server.releases import read_update

    tape = Recording.read(Path(config.run.out))
    base = models.load_base(config, tape.task.labels)
    path = Path(config.run.out) / "again.jsonl"
    with closing(Record(path)) as record:
        session = tape.session(base, config, record)
        for version, digest in enumerate(tape.last["updates"], 1):
            update = read_update(session, version, digest)
            session.model.add(update)
        bring(session, list(session.model.updates))
    return base


def logits(model: Any, tokenizer: Any, **more: Any) -> np.ndarray[Any, Any]:
    """What a stock model says to the texts."""
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        found: torch.Tensor = model(**given, **more).logits
    mask = batch["attention_mask"].bool()
    shaped = found[mask] if found.ndim == 3 else found
    return shaped.float().numpy()


def short(folder: Path, *, lm: bool, **tables: dict[str, Any]) -> Config:
    """A small run without comparisons."""
    given: dict[str, Any] = {
        "run": {"rounds": 2},
        "eval": {"local": False},
        "lora": {"rank_down": 32},
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    run = {"out": str(folder / "run")} | given["run"]
    given["run"] = run
    return tiny.lm_config(folder, **given) if lm else tiny.config(folder, **given)


def test_a_language_models_adapter_loads_through_peft(tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    config = short(tmp_path, lm=True)
    folder, summary = ran(tmp_path, config)
    assert summary["adapter"]["written"] == "adapter"
    model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(config.model.id)
    body: Any = ours(config).network.body
    mine = logits(body, tokenizer)
    np.testing.assert_allclose(logits(model, tokenizer), mine, rtol=0, atol=1e-4)
    with model.disable_adapter():
        assert np.abs(logits(model, tokenizer) - mine).max() > 0.01
    assert "AutoModelForCausalLM" in (folder / "README.md").read_text()


def test_a_classifiers_adapter_brings_its_head(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = short(tmp_path, lm=False, model={"head": "linear"})
    folder, _ = ran(tmp_path, config)
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    bare = AutoModelForSequenceClassification.from_pretrained(
        config.model.id, num_labels=len(labels)
    )
    model = PeftModel.from_pretrained(bare, folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(config.model.id)
    said = json.loads((folder / "adapter_config.json").read_text())
    assert said["modules_to_save"] == ["classifier"]
    mine = logits(ours(config).network.body, tokenizer)
    np.testing.assert_allclose(logits(model, tokenizer), mine, rtol=0, atol=1e-4)


def test_a_cosine_heads_adapter_scores_as_the_page_says(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    config = short(tmp_path, lm=False)
    folder, _ = ran(tmp_path, config)
    base = AutoModel.from_pretrained(config.model.id)
    model = PeftModel.from_pretrained(base, folder).eval()
    batch = AutoTokenizer.from_pretrained(config.model.id)(
        TEXTS, padding=True, return_tensors="pt"
    )
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        states = model(**given).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        pooled = functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        head = torch.from_numpy(
            load_file(folder / "head.safetensors")["classifier.weight"]
        )
        found = (20 * pooled @ functional.normalize(head, dim=-1).T).numpy()
        network: Any = ours(config).network
        mine = network.scores(TEXTS, config.train.max_length).numpy()
    np.testing.assert_allclose(found, mine, rtol=0, atol=1e-4)


@pytest.mark.parametrize("lm", [True, False])
def test_a_folded_model_is_a_folder_of_transformers(
    tmp_path: Path,
    lm: bool,  # noqa: FBT001
) -> None:
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    wire = {"up": "sparse(density=0.2)"}
    model = {} if lm else {"head": "linear"}
    config = short(tmp_path, lm=lm, train={"mode": "full"}, wire=wire, model=model)
    folder, summary = ran(tmp_path, config)
    assert summary["adapter"] == {"written": "folded"}
    family: Any = AutoModelForCausalLM if lm else AutoModelForSequenceClassification
    found = family.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    mine = logits(ours(config).network.body, tokenizer)
    np.testing.assert_array_equal(logits(found, tokenizer), mine)
    assert not (folder / "adapter_config.json").exists()
    if lm:
        assert tokenizer.chat_template
    else:
        labels = json.loads((folder / "labels.json").read_text())["labels"]
        assert list(found.config.id2label.values()) == labels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_are_written_where_asked_for(tmp_path: Path, dtype: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = short(tmp_path, lm=True, run={"export": "both"}, model={"dtype": dtype})
    folder, summary = ran(tmp_path, config)
    assert summary["adapter"]["written"] == "both"
    assert (folder / "adapter_config.json").exists()
    found: Any = AutoModelForCausalLM.from_pretrained(folder / "folded")
    found.eval()
    assert str(found.dtype) == f"torch.{dtype}"
    tokenizer = AutoTokenizer.from_pretrained(folder / "folded")
    mine = logits(ours(config).network.body, tokenizer)
    np.testing.assert_array_equal(logits(found, tokenizer), mine)


def test_whole_weights_are_no_adapter(tmp_path: Path) -> None:
    config = short(tmp_path, lm=True, run={"export": "adapter"}, train={"mode": "full"})
    with pytest.raises(ConfigError, match=r"run\.export"):
        checks.check(config)
    assert data.load(config).labels
