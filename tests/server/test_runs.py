"""Configurations: what is read, what is refused and how it is said."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config, Run
from fedelta.server import runs


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.step=4", "did you mean train.steps?"),
        ("training.steps=4", "did you mean train?"),
        ("run.steps=4", "did you mean train.steps?"),
        ("rounds=3", "table.key=value"),
        ("run.rounds=0", "run.rounds must be at least 1, not 0"),
        ("run.rounds=many", "run.rounds: must be a valid integer, not 'many'"),
        ("run.rounds=2.5", "run.rounds"),
        ("train.learning_rate=nan", "train.learning_rate must be above 0"),
        ("lora.space=dense", "'core' or 'factors'"),
        ("lora.targets=[]", "lora.targets"),
        ("merge.recipe=tie()", "merge.recipe"),
        ("merge.recipe=ties(density=2)", "merge.recipe"),
        ("merge.recipe=ties(", "merge.recipe"),
        ("merge.server_optimizer=adam()", "merge.server_optimizer"),
        ("wire.up=fp12", "wire.up"),
        ("wire.down=sparse(density=0)", "wire.down"),
        ("round.clients=9", "round.clients is 9, but there are only 8"),
        ("round.quorum=9", "round.quorum is 9"),
        ("round.quorum=1.5", "whole number"),
        ("journal.keep=some", "journal.keep"),
        ("run.out=", "run.out"),
        ("data.regions=0", "data.regions must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runs.load(overrides=[override])
    assert said in str(caught.value)


def test_later_layers_win(tmp_path: Path) -> None:
    path = written(tmp_path, "[train]\nsteps = 5\n[run]\nseed = 7\n")
    config = runs.load(path, preset="icd10", overrides=["run.seed=8"])
    assert (config.train.steps, config.run.seed) == (5, 8)
    assert config.model.id == "minilm"


def test_a_file_alone_stands_on_the_defaults(tmp_path: Path) -> None:
    config = runs.load(written(tmp_path, "[run]\nrounds = 4\n"))
    assert config == Config(run=Run(rounds=4))


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("merge.recipe=ties(density=0.2)", "merge", "recipe", "ties(density=0.2)"),
        ("merge.recipe=fedavg | scale(2)", "merge", "recipe", "fedavg | scale(2)"),
        ("run.name=2024", "run", "name", "2024"),
        ("eval.local=false", "eval", "local", False),
        ('lora.targets=["a", "b"]', "lora", "targets", ("a", "b")),
        ("data.test=0.25", "data", "test", 0.25),
        ("data.test=held/out.csv", "data", "test", "held/out.csv"),
        ("journal.keep=2", "journal", "keep", 2),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
    ],
)
def test_overrides_are_toml_or_text(
    override: str, table: str, key: str, value: object
) -> None:
    config = runs.load(overrides=[override])
    assert getattr(getattr(config, table), key) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[run\n", "is not TOML"),
        ("run = 3\n", "run must be a table"),
        ("clients = 3\n", "[[clients]]"),
        ('[[clients]]\nname = "a"\nregoin = "x"\n', "clients[0].region?"),
        ('[[clients]]\nname = "../a"\n', "clients[0].name"),
        ('[[clients]]\nname = "a"\n[[clients]]\nname = "a"\n', "there twice"),
        ("[[clients]]\ndata = 'x'\n", "clients.0.name"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runs.load(written(tmp_path, text))
    assert said in str(caught.value)


def test_paths_are_from_the_files_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And as before from the working folder, where they are not there."""
    for path in ("own/a.jsonl", "own/test.jsonl", "own/model/x", "b.jsonl"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "own" / "icd10").mkdir()
    whole = tmp_path / "b.jsonl"
    text = """
        run.out = "model"
        model.id = "model"
        data = {source = "icd10", test = "test.jsonl"}
        clients = [
            {name = "a", data = "a.jsonl"},
            {name = "b", data = "b.jsonl"},
            {name = "c", data = "%s"},
        ]
    """
    file = written(tmp_path / "own", text % whole)
    monkeypatch.chdir(tmp_path)
    found = runs.load(file.relative_to(tmp_path))
    assert (found.model.id, found.data.test) == ("own/model", "own/test.jsonl")
    assert (found.data.source, found.run.out) == ("icd10", "model")
    given = [one.data for one in found.clients]
    assert given == ["own/a.jsonl", "b.jsonl", str(whole)]
    monkeypatch.chdir("own")
    for one in (file, Path(file.name)):
        assert runs.load(one).model.id == "model", "and a run keeps its name"


def test_a_missing_file_and_a_missing_preset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        runs.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="did you mean icd10"):
        runs.load(preset="icd")


@given(st.integers(0, 2**40), st.text(max_size=20), st.floats(1e-6, 1.0))
def test_a_config_survives_json(seed: int, name: str, rate: float) -> None:
    config = Config(run=Run(seed=seed, name=name))
    config = replace(config, train=replace(config.train, learning_rate=rate))
    assert runs.config_from_json(runs.config_json(config)) == config


def test_a_run_id_names_everything_but_name_and_folder() -> None:
    plain = Config()
    moved = replace(plain, run=Run(name="x", out="y"))
    assert runs.run_id(plain) == runs.run_id(moved)
    for override in ("run.seed=1", "train.steps=9", "merge.recipe=ties"):
        assert runs.run_id(runs.load(overrides=[override])) != runs.run_id(runs.load())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"run": {"round": 1}}'])
def test_json_that_is_no_config(text: str) -> None:
    with pytest.raises(ConfigError):
        runs.config_from_json(text)
