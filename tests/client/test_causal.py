"""Causal LMs: they learn, what is given is not learned, rows are kept apart."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedelta.client import adapters, causal, data, evaluation, models, texts, training
from fedelta.protocols import digests
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats
from tests import tiny


@pytest.fixture(scope="module")
def lm(folder: Path) -> Config:
    """The tiny run of a causal LM."""
    return tiny.lm_config(folder)


@pytest.fixture(scope="module")
def passages(lm: Config) -> data.Task:
    """Its data."""
    return data.load(lm)


@pytest.fixture(scope="module")
def held(lm: Config, passages: data.Task) -> models.Base:
    """Its base model."""
    return models.load_base(lm, passages.labels)


@pytest.fixture
def base(held: models.Base) -> models.Base:
    """The base model at its own bytes."""
    held.reset()
    return held


def trained(
    base: models.Base, some: data.Examples, config: Config, key: int = 1, steps: int = 0
) -> tuple[dict[str, Floats], dict[str, float]]:
    """What training on some examples changes, and its metrics."""
    start = base.start(config, models.run_key(config), 1)
    with adapters.adapted(base, config, start) as adapter:
        metrics = training.TorchTrainer(config, steps).train(adapter, some, key)
        return adapter.change(), metrics


def logits(base: models.Base, rows: Sequence[causal.Pack]) -> list[Any]:
    """Each text's logits, wherever it stands in a batch."""
    batch, _ = causal._batch(rows)
    with torch.inference_mode():
        found = base.network.body(**batch, use_cache=False).logits.numpy()
    told = []
    for line, pack in enumerate(rows):
        start = 0
        for row in pack:
            told.append(found[line, start : start + len(row)])
            start += len(row)
    return told


def test_training_lowers_perplexity_of_the_own_domain(
    base: models.Base, passages: data.Task, lm: Config
) -> None:
    before = evaluation.evaluate(base, passages.test, lm)
    own = passages.clients["amber"]
    start = base.start(lm, 1, 1)
    with adapters.adapted(base, lm, start) as adapter:
        training.TorchTrainer(lm, 60).train(adapter, own, 1)
        after = evaluation.evaluate(base, passages.test, lm)
    assert after["perplexity/amber"] < 0.5 * before["perplexity/amber"]
    assert after["loss"] < before["loss"]
    assert before["tokens"] == after["tokens"] > 100


def test_perplexity_is_the_geometric_mean_of_the_domains(
    base: models.Base, passages: data.Task, lm: Config
) -> None:
    found = evaluation.evaluate(base, passages.test, lm)
    each = [found[f"perplexity/{name}"] for name in passages.labels]
    assert found["perplexity"] == pytest.approx(math.prod(each) ** (1 / len(each)))
    assert found["perplexity"] > 100  # of 259 bytes nothing is known yet


def test_loss_is_what_transformers_says(base: models.Base, lm: Config) -> None:
    row = texts.encode(texts.plain("seven letters"), base.network.tokenizer, 48)
    ids = torch.from_numpy(row.ids)[None]
    with torch.inference_mode():
        theirs = base.network.body(input_ids=ids, labels=ids).loss
        ours = base.network.loss([(row,)], lm.train) / base.network.weigh([(row,)])
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


def test_a_prompt_is_read_and_not_learned(base: models.Base, lm: Config) -> None:
    network = base.network
    some = [texts.pair("what?", " this"), texts.pair("that!", " this")]
    rows = network.rows(data.Examples(tuple(some), np.zeros(2, np.int64)), lm.train)
    assert network.weigh(rows[:1]) == len(" this") + 1  # and the end
    _, targets = causal._batch(rows)
    assert torch.equal(targets[0], targets[1])
    first, second = (network.loss([row], lm.train).item() for row in rows)
    assert first != second
    whole = network.rows(
        data.Examples((texts.plain("what? this"),), np.zeros(1, np.int64)), lm.train
    )
    assert network.weigh(whole) == len("what? this")


def test_packed_texts_do_not_see_each_other(
    base: models.Base, passages: data.Task, lm: Config
) -> None:
    packed = replace(lm, train=replace(lm.train, packing=True, max_length=96))
    own = passages.clients["birch"]
    rows = base.network.rows(own, packed.train)
    assert any(len(pack) > 2 for pack in rows)
    assert sum(len(pack) for pack in rows) == len(own)
    assert max(sum(map(len, pack)) for pack in rows) <= 96
    alone = [(row,) for pack in rows for row in pack]
    together = logits(base, rows)
    for one, other in zip(together, logits(base, alone), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    apart = base.network.loss(alone, lm.train).item()
    close = base.network.loss(rows, packed.train).item()
    assert close == pytest.approx(apart, rel=1e-6)
    assert base.network.weigh(rows) == base.network.weigh(alone)


def test_small_batches_add_up_and_checkpoints_change_nothing(
    base: models.Base, passages: data.Task, lm: Config
) -> None:
    own = passages.clients["cobalt"]
    plain = replace(lm, train=replace(lm.train, optimizer="sgd", learning_rate=0.1))
    whole, one = trained(base, own, plain)
    halves = replace(plain, train=replace(plain.train, micro_batch=3))
    parts, two = trained(base, own, halves)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    for name, value in whole.items():
        np.testing.assert_allclose(value, parts[name], atol=1e-6)
    again = replace(plain, train=replace(plain.train, checkpointing=True))
    assert digests.of_tensors(trained(base, own, again)[0]) == digests.of_tensors(whole)
    assert not any(layer.training for layer in base.network.body.modules())


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_the_same_key_gives_the_same_bytes(
    folder: Path, passages: data.Task, mode: str
) -> None:
    config = tiny.lm_config(folder, train={"mode": mode, "packing": True})
    base = models.load_base(config, passages.labels)
    own = passages.clients["dune"]
    before = digests.of_tensors(base.tensors())
    first, again = trained(base, own, config)[0], trained(base, own, config)[0]
    other = trained(base, own, config, key=2)[0]
    assert digests.of_tensors(first) == digests.of_tensors(again)
    assert digests.of_tensors(first) != digests.of_tensors(other)
    assert digests.of_tensors(base.tensors()) == before


def test_adapters_go_into_all_linear_layers_but_the_tied_output(
    base: models.Base, lm: Config
) -> None:
    modules = {pair.weight.split(".")[-2] for pair in base.pairs(lm)}
    assert modules == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert len(base.pairs(lm)) == 14
    assert not any("lm_head" in name for name in base.layout(lm).names)
    assert base.pairs(lm)[0].weight == "model.layers.0.mlp.down_proj.weight"


def test_full_deltas_travel_once_where_weights_are_tied(
    folder: Path, passages: data.Task
) -> None:
    config = tiny.lm_config(folder, train={"mode": "full"})
    base = models.load_base(config, passages.labels)
    layout = base.layout(config)
    assert layout == base.update_layout()
    assert base.pairs(config) == ()
    assert base.start(config, 1, 1) == {}
    assert "model.embed_tokens.weight" in layout.names
    assert "lm_head.weight" not in layout.names
    assert layout.size == sum(p.numel() for p in base.network.body.parameters())
    own = passages.clients["amber"]
    with adapters.adapted(base, config, {}) as adapter:
        training.TorchTrainer(config).train(adapter, own, 1)
        trained = evaluation.evaluate(base, passages.test, config)
        change = adapter.change()
    assert tuple(change) == layout.names
    before = evaluation.evaluate(base, passages.test, config)
    base.fold(change, "a")
    assert evaluation.evaluate(base, passages.test, config)["loss"] == pytest.approx(
        trained["loss"], rel=1e-6
    )
    assert trained["loss"] < before["loss"]
    body: Any = base.network.body
    head = body.get_output_embeddings().weight
    assert np.array_equal(
        head.detach().numpy(),
        base.weights()["model.embed_tokens.weight"],
    )


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_bfloat16_computes_and_float32_is_kept(
    folder: Path, passages: data.Task, mode: str
) -> None:
    config = tiny.lm_config(folder, train={"mode": mode}, model={"dtype": "bfloat16"})
    base = models.load_base(config, passages.labels)
    exact = models.load_base(tiny.lm_config(folder), passages.labels)
    assert base.digest == exact.digest
    assert {w.dtype for w in base.weights().values()} == {np.dtype(np.float32)}
    before = evaluation.evaluate(base, passages.test, config)["loss"]
    assert before == pytest.approx(
        evaluation.evaluate(exact, passages.test, config)["loss"], rel=1e-2
    )
    change, _ = trained(base, passages.clients["amber"], config, steps=20)
    start = base.start(config, models.run_key(config), 1)
    for pair in base.pairs(config):
        whole = start[pair.a] + change[pair.a]
        change[pair.a] = np.float32(pair.scaling) * whole
    base.fold(change)
    assert evaluation.evaluate(base, passages.test, config)["loss"] < before
    base.reset()
    name = "model.layers.0.mlp.down_proj.weight"
    begun = base.weights()[name].copy()
    for _ in range(4):
        fold_a_little(base, name)
    np.testing.assert_allclose(base.weights()[name] - begun, 4e-6, rtol=0.2)
    base.reset()
    assert np.array_equal(base.weights()[name], begun)


def fold_a_little(base: models.Base, weight: str) -> None:
    """An update that bfloat16 would round away, in whichever way it travels."""
    wide, deep = base.weights()[weight].shape
    module = weight.removesuffix(".weight")
    if weight in base.dense:
        base.fold({weight: np.full((wide, deep), 1e-6, np.float32)})
        return
    base.fold(
        {
            f"{module}.lora_B.weight": np.full((wide, 1), 1e-3, np.float32),
            f"{module}.lora_A.weight": np.full((1, deep), 1e-3, np.float32),
        }
    )


RANKS = (("amber", 4, 2.0), ("birch", 2, 4.0), ("cobalt", 6, 8 / 6))


def test_ranks_may_differ(folder: Path, passages: data.Task) -> None:
    names = ["amber", "birch", "cobalt", "dune"]
    clients: list[dict[str, Any]] = [{"name": one} for one in names]
    clients[1] |= {"rank": 2, "alpha": 8.0}
    clients[2] |= {"rank": 6}
    config = tiny.lm_config(folder, clients=clients)
    assert set(data.load(config).clients) == set(names)
    base = models.load_base(config, passages.labels)
    for name, rank, scaling in RANKS:
        own = config.of(name)
        pairs, layout = base.pairs(own), base.layout(own)
        assert {pair.scaling for pair in pairs} == {scaling}
        change, _ = trained(base, passages.clients[name], own, steps=2)
        assert {n: c.shape for n, c in change.items()} == dict(
            zip(layout.names, layout.shapes, strict=True)
        )
        assert change[pairs[0].b].shape[1] == rank
    key = models.run_key(config)
    low, high = base.start(config.of("birch"), key, 1), base.start(config, key, 1)
    for name, value in low.items():
        assert np.array_equal(value, high[name][:2])
    down = base.update_layout()
    place = down.place("model.layers.0.mlp.down_proj.lora_A.weight")
    assert down.shapes[place] == (24, 64)


def test_what_is_exported_gives_the_same_logits(
    base: models.Base, passages: data.Task, lm: Config, folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    change, _ = trained(base, passages.clients["amber"], lm)
    start = base.start(lm, models.run_key(lm), 1)
    update = dict(change)
    for pair in base.pairs(lm):
        update[pair.a] = np.float32(pair.scaling) * (start[pair.a] + change[pair.a])
    base.fold(update)
    body: Any = base.network.body
    body.save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    batch, _ = causal._batch(base.network.rows(passages.test, lm.train)[:4])
    with torch.inference_mode():
        assert torch.equal(theirs(**batch).logits, body(**batch).logits)
