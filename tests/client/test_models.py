"""Base models: what is touched, versions, and folders that hold none."""

import json
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from fedelta.client import accuracies, adapters, data, evaluation, loading, models
from fedelta.protocols import digests
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config, Lora, Model
from fedelta.protocols.vectors import Floats
from tests import tiny
from tests.client.scores import predict


def update(base: models.Base, size: float) -> dict[str, Floats]:
    """An update that changes everything that it may."""
    layout = base.update_layout()
    return {
        name: np.full(shape, size, np.float32)
        for name, shape in zip(layout.names, layout.shapes, strict=True)
    }


def test_the_layout_is_pairs_and_head(base: models.Base, config: Config) -> None:
    layout, pairs = base.layout(config), base.pairs(config)
    module = "encoder.layer.0.attention.self.query"
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    assert shapes[f"{module}.lora_A.weight"] == (2, 32)
    assert shapes[f"{module}.lora_B.weight"] == (32, 2)
    assert shapes["classifier.weight"] == (4, 32)
    assert len(pairs) == 4
    assert len(layout.names) == 2 * len(pairs) + 1
    assert pairs[0].weight == f"{module}.weight"
    assert pairs[0].scaling == 2.0
    assert set(base.weights()) == {pair.weight for pair in pairs} | {
        "classifier.weight"
    }


def test_the_start_is_keyed_and_shared(base: models.Base, config: Config) -> None:
    key = models.run_key(config)
    once, later = base.start(config, key, 1), base.start(config, key, 2)
    assert digests.of_tensors(once) == digests.of_tensors(later)
    assert digests.of_tensors(once) != digests.of_tensors(
        base.start(config, key + 1, 1)
    )
    anew = replace(config, lora=replace(config.lora, init="round"))
    first, second = base.start(anew, key, 1), base.start(anew, key, 2)
    assert digests.of_tensors(first) != digests.of_tensors(second)
    for value in once.values():
        assert np.abs(value).max() <= 32**-0.5
        assert np.abs(value).std() > 0.03


def test_versions_fold_and_reset_to_the_bytes(base: models.Base) -> None:
    own = digests.of_tensors(base.tensors())
    assert base.version == base.digest
    base.fold(update(base, 0.1), "a")
    one = digests.of_tensors(base.tensors())
    base.fold(update(base, 0.2), "b")
    assert base.applied == ("a", "b")
    assert base.version == digests.chain(digests.chain(base.digest, "a"), "b")
    base.reset()
    assert digests.of_tensors(base.tensors()) == own != one
    base.fold(update(base, 0.1), "a")
    assert digests.of_tensors(base.tensors()) == one


def test_folding_moves_the_model_itself(
    base: models.Base, task: data.Task, config: Config
) -> None:
    before = predict(base, task.test.texts, config)
    base.fold(update(base, 0.3), "a")
    assert np.abs(predict(base, task.test.texts, config) - before).max() > 0.1


def test_the_digest_names_model_and_classes(
    base: models.Base, config: Config, task: data.Task
) -> None:
    assert models.load_base(config, task.labels).digest == base.digest
    assert models.load_base(config, ("x", "y")).digest != base.digest
    linear = replace(config, model=replace(config.model, head="linear"))
    assert models.load_base(linear, task.labels).digest != base.digest


def test_class_vectors_start_as_the_titles(base: models.Base, config: Config) -> None:
    assert base.weights()["classifier.weight"].shape == (4, 32)
    labels = ("amber", "birch", "cobalt", "dune")
    titles = data.Examples(labels, np.arange(4))
    assert evaluation.evaluate(base, titles, config)["accuracy"] == 1.0


def test_a_linear_head_trains_and_travels(folder: Path, task: data.Task) -> None:
    config = tiny.config(folder, model={"head": "linear"})
    base = models.load_base(config, task.labels)
    again = models.load_base(config, task.labels)
    assert digests.of_tensors(base.tensors()) == digests.of_tensors(again.tensors())
    names = base.layout(config).names
    assert {"classifier.weight", "classifier.bias"} < set(names)
    assert "bert.encoder.layer.0.attention.self.query.lora_A.weight" in names
    start = base.start(config, 1, 1)
    with adapters.adapted(base, config, start) as adapter:
        assert tuple(adapter.parameters) == names
        found = evaluation.evaluate(base, task.test, config)
    assert found["examples"] == len(task.test)


def test_all_linear_layers_that_count(base: models.Base, folder: Path) -> None:
    config = tiny.config(folder, lora={"targets": ("all-linear",)})
    every = models.load_base(config, ("a", "b"))
    endings = {pair.weight.split(".")[-2] for pair in every.pairs(config)}
    assert endings == {"query", "key", "value", "dense"}
    assert not any("pooler" in pair.weight for pair in every.pairs(config))


def test_targets_that_fit_nothing(config: Config) -> None:
    wrong = replace(config, lora=Lora(targets=("q_proj",)))
    with pytest.raises(ConfigError, match="it has dense, key, query, value"):
        models.load_base(wrong, ("a", "b"))


def bad_folder(folder: Path, tmp_path: Path, what: str) -> str:
    """A folder that is nearly a model."""
    target = tmp_path / "model"
    shutil.copytree(tiny.model(folder), target)
    if what == "config.json":
        (target / "config.json").unlink()
    elif what == "weights":
        (target / "model.safetensors").write_bytes(b"no weights")
    elif what == "kind":
        (target / "config.json").write_text('{"model_type": "none"}')
    elif what == "another":
        said = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(said | {"num_hidden_layers": 9}))
    return str(target)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("config.json", "has no config.json"),
        ("weights", "cannot be read as a model"),
        ("kind", "cannot be read as a model"),
        ("another", "lack"),
    ],
)
def test_folders_that_are_no_model(
    folder: Path, tmp_path: Path, config: Config, what: str, message: str
) -> None:
    given = Model(id=bad_folder(folder, tmp_path, what))
    with pytest.raises(ConfigError, match=message):
        models.load_base(replace(config, model=given), ("a", "b"))


def test_a_folder_that_is_not_there(config: Config) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        loading.place(Model(id="/nowhere/at/all"))


def test_without_the_hub_there_is_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from huggingface_hub import constants

    kept = tmp_path / "models--a--b"
    folder = kept / "snapshots" / "0123"
    for path, text in ((kept / "refs" / "main", "0123"), (folder / "config.json", "")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    there, absent = (Model(id=name, cache=str(tmp_path)) for name in ("a/b", "a/c"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    loading.reached.cache_clear()
    request.addfinalizer(loading.reached.cache_clear)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        where = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", where)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert [loading.place(one) for one in (there, absent)] == ["a/b", "a/c"]
        thread.join()
    loading.reached.cache_clear()
    assert loading.place(there) == str(folder)
    with pytest.raises(ConfigError, match="`hf download a/c` where there is"):
        loading.place(absent)
    with pytest.raises(ConfigError, match="no folder here"):
        loading.place(Model(id="models/of/mine", cache=str(tmp_path)))


def test_metrics_are_the_definitions() -> None:
    scores = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]]))
    found = accuracies.metrics(scores, np.array([0, 1, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(-np.log([0.7, 0.8, 0.3]).mean())
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
