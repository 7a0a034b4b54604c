"""The command line: starts at once, says what went wrong in a line, exits right."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.models import ArgumentInfo

from fedelta import __version__
from fedelta.protocols.errors import (
    BudgetError,
    CheckpointError,
    ConfigError,
    FedeltaError,
    QuorumError,
)
from fedelta.server import cli

from .folders import made

HEAVY = ("torch", "transformers", "peft", "datasets", "flwr", "matplotlib", "numba")


def ran(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    code = stopped.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("words", [["--help"], ["merge", "--help"], ["--version"]])
def test_help_starts_at_once(words: list[str]) -> None:
    code = (
        "import sys; from fedelta.server.cli import main\n"
        f"try: main({words!r})\n"
        f"finally: print('HEAVY', [n for n in {HEAVY!r} if n in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "HEAVY []" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_help_says_what_every_argument_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    seen = 0
    below = {one.name: one.typer_instance for one in cli.app.registered_groups}
    for above, app in {None: cli.app, **below}.items():
        for command in app.registered_commands if app else ():
            name = command.name or getattr(command.callback, "__name__", "")
            ran(*filter(None, (above, name)), "--help")
            said = capsys.readouterr().out
            hints = get_type_hints(command.callback, include_extras=True).values()
            for one in (each for hint in hints for each in get_args(hint)):
                if isinstance(one, ArgumentInfo):
                    assert one.help
                    assert one.help in said, name
                    seen += 1
    assert seen > 20


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--version") == 0
    assert capsys.readouterr().out == f"fedelta {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["simulate", "nosuch.toml"], "nosuch.toml"),
        (["simulate", "--preset", "icd11"], "icd10"),
        (["simulate", "--set", "train.step=3"], "train.steps"),
        (["simulate", "--set", "merge.recipe=tie(density=0.2)"], "ties"),
        (["simulate", "--set", "nonsense"], "table.key=value"),
    ],
)
def test_a_wrong_configuration_is_told_in_a_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(*words) == 2
    seen = capsys.readouterr()
    assert said in seen.err
    assert seen.err.startswith("fedelta: ")
    assert seen.err.count("\n") == 1
    assert seen.out == ""


def test_a_wrong_option_is_a_wrong_configuration() -> None:
    assert ran("simulate", "--rounds", "0") == 2
    assert ran("simulate", "--no-such-option") == 2
    assert ran("no-such-command") == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a"), 2),
        (QuorumError("b"), 3),
        (BudgetError("c"), 3),
        (CheckpointError("d"), 1),
        (FedeltaError("e"), 1),
        (OSError(28, "No space left on device"), 1),
        (ValueError("two\nlines"), 1),
    ],
)
def test_exit_codes(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr("fedelta.server.report.write", fail)
    assert ran("report", "runs") == code
    assert capsys.readouterr().err.count("\n") == 1


def test_debug_shows_where_it_came_from() -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        cli.main(["simulate", "nosuch.toml", "--debug"])


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("report", str(made(tmp_path))) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_report_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("report", str(tmp_path)) == 1
    assert "holds no run" in capsys.readouterr().err


def test_report_of_a_stopped_run_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made(tmp_path) / "summary.json").unlink()
    assert ran("report", str(tmp_path)) == 1
    assert "fedelta resume" in capsys.readouterr().err


def test_what_was_meant_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("simualte") == 2
    assert capsys.readouterr().err.count("simulate") == 1


def test_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("methods", "--json") == 0
    known = json.loads(capsys.readouterr().out)
    names = {one["name"] for one in known}
    assert {
        "fedavg",
        "task_arithmetic",
        "ties",
        "dare",
        "dare_ties",
        "grouped",
    } <= names
    assert ran("methods") == 0
    table = capsys.readouterr().out
    assert "dare_ties" in table


def test_merge_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = {"w": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float32)}
    paths = [tmp_path / f"{name}.safetensors" for name in ("base", "one", "two")]
    save_file(base, paths[0])
    save_file({name: value + 1 for name, value in base.items()}, paths[1])
    save_file({name: value + 3 for name, value in base.items()}, paths[2])
    out = tmp_path / "out.safetensors"
    words = ["--recipe", "fedavg()", "--base", str(paths[0]), "--out", str(out)]
    models = [str(path) for path in paths[1:]]
    assert ran("merge", *words, *models, "--weights", "3,1") == 0
    assert capsys.readouterr().out.strip() == str(out)
    merged = load_file(out)
    np.testing.assert_allclose(merged["w"], np.full((2, 3), 1.5), rtol=1e-4)
    np.testing.assert_allclose(merged["b"], np.full(4, 2.5), rtol=1e-4)
    assert ran("merge", *words, *models) == 2
    assert "is there already: choose another by --out, or add --overwrite" in (
        capsys.readouterr().err
    )
    np.testing.assert_array_equal(load_file(out)["w"], merged["w"])
    assert ran("merge", *words, *models, "--overwrite") == 0
    assert load_file(out)["w"][0, 0] == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("weights", ["1", "1,2,3", "a,b"])
def test_weights_fit_the_models(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.safetensors"
    save_file({"w": np.ones(3, np.float32)}, path)
    words = ["--recipe", "fedavg()", "--base", str(path), "--out", str(tmp_path / "o")]
    assert ran("merge", *words, str(path), str(path), "--weights", weights) == 2
    assert "weights" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_merge_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_file({"w": np.ones(3, np.float32)}, path)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['flwr'] = None\n"
        "from fedelta.server.cli import main\n"
        f"main(['merge', '--recipe', 'ties()', '--base', {str(path)!r}, '--out', "
        f"{str(tmp_path / 'out.safetensors')!r}, {str(path)!r}, {str(path)!r}])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
