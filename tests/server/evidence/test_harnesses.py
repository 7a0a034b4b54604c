"""lm-eval's tasks on a run's model: shipped ones, one's own, and no network."""

import json
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server.cli import main
from fedelta.server.evidence import harnesses
from fedelta.server.histories import History
from fedelta.server.report import page
from tests import tiny
from tests.federations import federate

from . import exercises

quiet = pytest.mark.filterwarnings("ignore")  # others' own, of their own parts


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny.lm_config(
        tmp_path_factory.mktemp("harnesses"),
        run={"rounds": 1},
        eval={"local": False, "metric": "perplexity"},
    )
    federate(config)
    return config


@quiet
@pytest.mark.peer("lm_eval")
def test_shipped_tasks_run_on_base_and_model(
    ran: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(ran.run.out)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(folder), "--limit", "3", "--json"])
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((folder / harnesses.FILE).read_text())
    assert sorted(found["tasks"]) == harnesses.shipped()
    for task, models in found["tasks"].items():
        assert set(models) == {"base", "merged"}
        rolling = task == "fedelta_sentences"
        named = {"word_perplexity", "bits_per_byte"} if rolling else {"acc"}
        assert models["merged"].keys() >= named
    texts = found["tasks"]["fedelta_sentences"]
    assert texts["base"]["bits_per_byte"] != texts["merged"]["bits_per_byte"]
    assert "How does it do on other tasks?" in page(History.read(folder))


@quiet
@pytest.mark.peer("lm_eval")
def test_own_tasks_are_read_beside_their_data(ran: Config, tmp_path: Path) -> None:
    rows = [
        {"prompt": "amber", "choices": [" a", " b"], "answer": at % 2}
        for at in range(4)
    ]
    lines = "".join(json.dumps(one) + "\n" for one in rows)
    (tmp_path / "own.jsonl").write_text(lines)
    table = yaml.safe_load((harnesses.FOLDER / "fedelta_logic.yaml").read_text())
    table |= {"task": "own"}
    table["dataset_kwargs"]["data_files"]["test"] = "own.jsonl"
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(table))
    found = harnesses.judge(Path(ran.run.out), [str(path)])
    assert found["tasks"]["own"]["merged"]["acc"] == 0.5, "one prompt, both answers"
    (tmp_path / "own.jsonl").unlink()
    with pytest.raises(ConfigError, match="not at hand"):
        harnesses.judge(Path(ran.run.out), [str(path)])


def test_what_is_no_language_model_is_refused(ran: Config, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(ConfigError, match="no finished run"):
        harnesses.judge(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        harnesses.judge(Path(ran.run.out), ["nowhere.yaml"])


@pytest.mark.parametrize("name", list(exercises.MAKERS))
def test_shipped_rows_are_the_drills(name: str) -> None:
    path = harnesses.FOLDER / f"{name}.jsonl"
    assert path.read_text("utf-8") == exercises.text(name)
    rows = [json.loads(one) for one in path.read_text("utf-8").splitlines()]
    for row, (prompt, answer) in zip(rows, exercises.fresh(name), strict=True):
        assert row["prompt"] == prompt
        assert row["choices"][row["answer"]] == answer
        assert len(set(row["choices"])) == len(row["choices"]) > 1
