"""What uploads tell, in a reduced form: attacks work, and stop where they should."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.benchmarks import leaks, rebuilds
from fedelta.benchmarks.leaks import (
    ADAM,
    CANARIES,
    MEMBERS,
    TEXTS,
    WORDS,
    Cell,
    grid,
    run,
    table,
)
from fedelta.benchmarks.likelihoods import halves, judged, ratios
from fedelta.benchmarks.spans import Reader, alike
from fedelta.benchmarks.uploads import DEFENCES
from fedelta.protocols import seeds

pytestmark = pytest.mark.slow


def drawn(name: str, *shape: int) -> Any:
    flat = seeds.normal(seeds.key("leaks", name), 0, int(np.prod(shape)))
    return flat.reshape(shape)


def test_ratios_find_what_is_there_and_nothing_else() -> None:
    """Each model is judged by the others: noise alone gives no membership."""
    models, records = 16, 200
    uniform = seeds.uniform(1, 0, models * records)
    inside = halves(records, models, uniform)
    assert (inside.sum(0) == models // 2).all()
    noise, own = drawn("noise", models, records), drawn("own", records)
    nothing = judged(ratios(noise + 9 * own, inside), inside)
    assert nothing["auc"] == pytest.approx(0.5, abs=0.04)
    assert nothing["tpr"] < 0.03
    known = judged(ratios(noise + 9 * own + 2 * inside, inside), inside)
    assert known["auc"] == pytest.approx(0.92, abs=0.03)  # two deviations apart
    assert known["tpr"] > 0.2


def found(
    attack: str, model: str = "tiny", done: tuple[str, ...] = ()
) -> dict[tuple[str, str], dict[str, Any]]:
    cells = (one for one in grid(quick=True) if one.attack == attack)
    cell = next(one for one in cells if one.model == model)
    return {(row["view"], row["defence"]): row for row in run(cell, done)}


def test_an_upload_tells_who_was_in_it_and_a_noisy_sum_does_not() -> None:
    told = found(MEMBERS)
    assert told["upload", "none"]["odds_auc"] > 0.57
    assert told["sum", "none"]["odds_auc"] < told["upload", "none"]["odds_auc"]
    noisy = told["sum", "clip, noise 1"]
    assert noisy["odds_auc"] == pytest.approx(0.5, abs=0.1)
    assert noisy["quality"] < told["sum", "none"]["quality"]  # nothing is for nothing


def test_embedding_rows_are_the_words_until_noise_covers_them() -> None:
    told = found(WORDS)
    assert told["upload", "none"]["recovered"] == 1.0
    assert told["upload", "clip"]["recovered"] == 1.0
    assert told["sum", "none"]["recovered"] <= 1.0
    assert told["upload", "clip, noise 1"]["recovered"] < 0.7


def test_a_planted_secret_comes_out_of_an_upload() -> None:
    told = found(CANARIES)
    assert told["upload", "none"]["exposure_8"] == 6.0
    assert told["upload", "clip"]["exposure_8"] == 6.0
    assert told["sum", "none"]["exposure_8"] < 4.0
    assert told["sum", "clip, noise 1"]["exposure_8"] < 6.0


def test_one_step_spans_its_text_word_by_word() -> None:
    """All of a text out of an upload, nothing false; a sum mixes; noise ends it."""
    told = found(TEXTS)
    upload = told["upload", "none"]
    assert upload["texts_1"] == upload["span_1"] == upload["span_right_1"] == 1.0
    assert told["upload", "clip"]["texts_1"] == 1.0
    assert told["sum", "none"]["span_1"] == 1.0
    assert told["sum", "none"]["span_right_1"] < 0.5
    assert told["upload", "top 10 %"]["span_1"] == 0.0
    assert told["upload", "top 10 %"]["rows_1"] == 1.0  # and not the rows
    noisy = told["sum", "clip, noise 0.1"]
    assert noisy["span_1"] == noisy["rows_1"] == noisy["texts_4"] == 0.0


def test_fewer_bits_end_the_span_and_not_the_rows(tmp_path: Path) -> None:
    config = rebuilds.settings("tiny", 1, "sgd", 0, tmp_path)
    circle = rebuilds.Circle(config, 1)
    reader = Reader(circle.base, config.train.max_length)
    shares = {}
    for kind in (np.float16, np.int8):
        change = {n: rounded(one, kind) for n, one in circle.changes[0].items()}
        matched = alike(change, config.train.max_length)
        (some,) = reader.pairs([change])
        told = rebuilds.judged(circle.texts[0], some, matched, reader.known)
        shares[kind] = told["span"]
        assert told["rows"] == 1.0
    assert 0.5 < shares[np.float16] < 1.0
    assert shares[np.int8] == 0.0


def rounded(change: Any, kind: Any) -> Any:
    """As the wire has it: in shares of what is largest."""
    share = change / max(float(np.abs(change).max()), 1e-30)
    share = np.round(127 * share) if kind is np.int8 else share
    return share.astype(kind).astype(np.float32)


def test_other_optimisers_and_positions_leave_what_is_said_of_them() -> None:
    but = tuple(one.name for one in DEFENCES if one.name != "none")
    adam = found(ADAM, done=but)["upload", "none"]
    assert (adam["span_1"], adam["rows_1"]) == (0.0, 1.0)
    causal = found(TEXTS, "tiny-lm", but)["upload", "none"]
    assert causal["span_1"] == 1.0
    assert "rows_1" not in causal


def test_the_grid_is_told_and_drawn(tmp_path: Path) -> None:
    cells = [*grid(quick=True), *grid(quick=False)]
    assert len(set(cells)) == len(cells)
    rows = [
        {"attack": one.attack, "model": one.model, "steps": one.steps, "seed": one.seed}
        | {"epsilon": one.epsilon, "view": view, "defence": "none", "quality": 0.5}
        | {"odds_auc": 0.7, "recovered": 0.5, "exposure_8": 3.0, "texts_1": 0.9}
        for one in cells
        for view in ("upload", "sum")
    ]
    assert all("quality 0.500" in line for line in table(rows))
    leaks.plot(rows, tmp_path / "leaks.png")
    assert (tmp_path / "leaks.png").stat().st_size > 1000
    assert Cell(MEMBERS, "tiny", 24) in cells
