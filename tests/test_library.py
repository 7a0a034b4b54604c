"""docs/library.md: every example runs, and does what the page says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

import fedelta
from fedelta.aggregators import extensions, merge, recipe
from fedelta.protocols.errors import ConfigError, RoundError
from fedelta.server import MergeStrategy
from fedelta.server.engine import InProcessGrid
from fedelta.server.simulations import simulate
from tests import tiny
from tests.aggregators.cases import floats

PAGE = (Path(fedelta.__file__).parent / "docs" / "library.md").read_text("utf-8")
TARGETS = floats([[1, 0, 2, -1], [3, 0, -2, -1], [2, 1, 0, -1]])


def example(title: str, **given: Any) -> dict[str, Any]:
    """Run the Python of one section."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert section, f"no section {title}"
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(compile(code, f"library.md: {title}", "exec"), given)  # noqa: S102  ours
    return given


def plain(spoil: dict[int, Any] | None = None) -> ClientApp:
    """Somebody's clients: each moves all the way to its own target."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        place = int(str(context.node_config["client"]))
        value: Any = TARGETS[place]
        value = (spoil or {}).get(place, value)
        if isinstance(value, Exception):
            raise value
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(value)}),
                "metrics": MetricRecord({"num-examples": 10 * (place + 1)}),
            }
        )
        return Message(content, reply_to=message)

    return app


def grid(tmp_path: Path, spoil: dict[int, Any] | None = None) -> InProcessGrid:
    states = {str(place): tmp_path / str(place) for place in range(3)}
    return InProcessGrid(states, {}, workers=0, app=plain(spoil))


def test_merge() -> None:
    merged = example("Merge state dicts")["merged"]["layer.weight"]
    assert merged.dtype == np.float32
    assert merged[0, 2] == 3.0, "the sign with more mass wins"


def test_a_strategy_for_plain_clients_is_the_offline_merge(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    given = example("A merge in your own Flower app", np=np, Array=Array, found=found)
    given["app"](grid(tmp_path), Context(1, 1, {}, RecordDict(), {}))
    weights = [10, 20, 30]
    base = {"w": np.zeros(4, np.float32)}
    for number in (1, 2):
        models = [{"w": one} for one in TARGETS]
        base = merge(models, "ties(density=0.5)", base=base, weights=weights)
        assert number
    np.testing.assert_array_equal(found["w"], base["w"])


def test_broken_replies_are_left_out_and_counted(tmp_path: Path) -> None:
    spoil = {0: RuntimeError("gone"), 1: floats([1, np.nan, 0, 0])}
    strategy = MergeStrategy("fedavg", weighted=False, fraction_evaluate=0.0)
    start = ArrayRecord({"w": Array(np.zeros(4, np.float32))})
    result = strategy.start(grid(tmp_path, spoil), start, num_rounds=1)
    np.testing.assert_array_equal(result.arrays["w"].numpy(), TARGETS[2])
    assert result.train_metrics_clientapp[1]["refused"] == 2
    other = {place: np.zeros(3, np.float32) for place in range(3)}
    result = strategy.start(grid(tmp_path, other), start, num_rounds=1)
    assert 1 not in result.train_metrics_clientapp


def test_a_strategy_needs_a_recipe_for_plain_clients() -> None:
    with pytest.raises(ConfigError, match="by region"):
        MergeStrategy("grouped(fedavg(), ties())")
    with pytest.raises(RoundError, match="configure_train first"):
        MergeStrategy().aggregate_train(1, [])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's functions as an installed package with the page's entry points."""
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for title, name in (
        ("A recipe of your own", "merges"),
        ("A trainer of your own", "training"),
    ):
        section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
        (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        (package / f"{name}.py").write_text(code)
    entries = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    text = "\n".join(entries).replace('project.entry-points."', "").replace('"]', "]")
    info = tmp_path / "site" / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\n")
    text += '\n[fedelta.recipes]\nbroken = "my_package.nowhere:it"\n'
    (info / "entry_points.txt").write_text(_merged(text.replace('"', "")))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    extensions.registered.cache_clear()
    yield
    extensions.registered.cache_clear()
    for name in [one for one in sys.modules if one.startswith("my_package")]:
        del sys.modules[name]


def _merged(text: str) -> str:
    """Sections that come twice, as one."""
    groups: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            group = groups.setdefault(line, [])
        elif line:
            group.append(line)
    return "\n".join("\n".join([name, *lines]) for name, lines in groups.items())


@pytest.mark.usefixtures("installed")
def test_a_recipe_of_ones_own_is_known_by_its_name() -> None:
    base = {"w": np.zeros(4, np.float32)}
    models = [{"w": one} for one in TARGETS]
    own = merge(models, "cautious(density=0.5)", base=base)["w"]
    ties = merge(models, "ties(density=0.5)", base=base)["w"]
    np.testing.assert_array_equal(own, ties / 2)
    assert recipe("clip(1.0) | cautious").text
    with pytest.raises(ConfigError, match=r"my_package\.nowhere:it' cannot be loaded"):
        recipe("broken")
    with pytest.raises(ConfigError, match="did you mean 'cautious'"):
        recipe("cautions()")


def run(folder: Path, trainer: str) -> dict[str, Any]:
    folder.mkdir()
    config = tiny.config(folder, eval={"local": False}, train={"trainer": trainer})
    return simulate(config, workers=0)


@pytest.mark.usefixtures("installed")
def test_a_trainer_of_ones_own_trains(tmp_path: Path) -> None:
    plain_loss = run(tmp_path / "ours", "")["metrics"]
    own = run(tmp_path / "own", "anchored")["metrics"]
    assert plain_loss["base"] == own["base"]
    assert plain_loss["final"]["loss"] < own["final"]["loss"] < own["base"]["loss"]


def test_the_hugging_face_trainer_trains_and_repeats(tmp_path: Path) -> None:
    one = run(tmp_path / "one", "huggingface")
    two = run(tmp_path / "two", "huggingface")
    assert one["metrics"]["final"]["loss"] < one["metrics"]["base"]["loss"] - 0.1
    assert one["metrics"]["final"] == two["metrics"]["final"]
    example("The Hugging Face `Trainer`")["patient"](tiny.config(tmp_path / "one"))


def test_a_trainer_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    from fedelta.client.trainers import trainer

    with pytest.raises(ConfigError, match=r"'os:system' is not here; allowed: empty"):
        trainer(tiny.config(tmp_path, train={"trainer": "os:system"}))


def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repeat = example("A whole run")["repeat"]
    model, data = tiny.model(tmp_path), tiny.data(tmp_path)
    tables = {
        "model__id": model,
        "data__source": data,
        "data__clients": 2,
        "run__rounds": 1,
        "train__steps": 1,
        "eval__local": "false",
    }
    (summary,) = repeat([3], **tables)
    assert summary["seed"] == 3
    assert (tmp_path / "runs" / "seed-3" / "summary.json").exists()
