"""What a person sees while a run goes on."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fedelta.aggregators.recipes import describe
from fedelta.server.listings import method_tables
from fedelta.server.tables import closing_lines, closing_table
from fedelta.server.tallies import Tally
from fedelta.server.views import Lines, Screen, Silence, view

from .folders import record, summary


def test_a_tally_adds_up() -> None:
    tally = Tally()
    for line in record():
        tally.add(line)
    assert (tally.round, tally.rounds, tally.clients) == (3, 3, 8)
    assert [row["accepted"] for row in tally.rows] == [8, 7, 8]
    assert [row["value"] for row in tally.rows] == [0.548, 0.586, 0.607]
    assert tally.up == sum(n["bytes"] for n in record() if n["kind"] == "contribution")
    assert tally.left == 0


def test_time_left_is_guessed_from_rounds_done() -> None:
    tally = Tally()
    for line in record():
        tally.add(line)
        if line["kind"] == "round" and line["round"] == 1:
            break
    # round 1 began at 2 s and ended at 16 s; two more are to come
    assert tally.left == pytest.approx(28.0)


def test_an_unknown_kind_passes() -> None:
    tally = Tally()
    tally.add({"kind": "weather", "at": 3.0})
    assert tally.at == 3.0


def test_lines_for_a_pipe() -> None:
    out = io.StringIO()
    with Lines(Console(file=out, width=40)) as listener:
        for line in record():
            listener(line)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "round 0: accuracy 48.1 %" in text
    assert "round 2/3, 7 replies, 1 refused, loss 1.000" in text
    assert "refused client-03: NON_FINITE" in text
    assert "round 3: accuracy 60.7 %" in text


def test_the_metric_is_the_one_that_the_run_is_about() -> None:
    out = io.StringIO()
    with Lines(Console(file=out, width=40)) as listener:
        for line in record():
            listener({**line, "metric": "loss"} if line["kind"] == "run" else line)
    assert "round 0: loss 2.400" in out.getvalue()


def test_a_closing_table_is_about_the_metric_of_its_run() -> None:
    found = closing_table(summary() | {"metric": "loss"})
    assert found.columns[1].header == "loss"


def test_a_live_picture() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, legacy_windows=False)
    with Screen(console) as listener:
        for line in record():
            listener(line)
    last = out.getvalue().rsplit("rounds", 1)[-1]
    assert "3/3" in last
    assert "60.7 %" in last
    assert "+12.6" in last
    assert "alone" not in last  # nobody was trained alone
    assert "<script>" in out.getvalue()


def test_the_view_suits_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(view(quiet=True), Silence)
    shown = view(errors=True)
    assert isinstance(shown, Lines)
    assert shown.console.file is sys.stderr


def test_closing_words() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100)
    console.print(closing_table(summary()))
    for line in closing_lines(summary(), Path("runs/demo"), Path("r.html"), 3.0):
        console.print(line)
    text = out.getvalue()
    for words in (
        "48.1 %",
        "47.6 %",
        "60.7 %",
        "71.5 %",
        "+12.6 points",
        "+13.1 points",
    ):
        assert words in text
    assert "27.1 times under" in text
    assert "r.html" in text


def test_every_recipe_has_a_row() -> None:
    out = io.StringIO()
    Console(file=out, width=160).print(*method_tables(describe()))
    for one in describe():
        assert one["name"] in out.getvalue()
    for words in ("density=0.2", "FedSA-LoRA", "Fed-SB", "fedyogi", "train.scaffold"):
        assert words in out.getvalue()
