"""The report: whole, safe, the same twice, and fit to look at."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedelta.protocols.errors import CheckpointError
from fedelta.server.cards import by_layer
from fedelta.server.histories import History
from fedelta.server.report import page, write

from .browsers import CHROMIUM
from .folders import CLIENTS, HOSTILE, LOCAL, made

MERGED = {"light": (0x1F, 0x57, 0xC3), "dark": (0x7D, 0xA9, 0xFF)}
PAGE = {"light": (0xF4, 0xF5, 0xF7), "dark": (0x0F, 0x11, 0x13)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made(tmp_path)


def test_what_the_issue_names_is_there(run: Path) -> None:
    text = write(run).read_text()
    for name in (
        "by-round",
        "by-client",
        "traffic",
        "by-phase",
        "cosine",
        "sign-conflict",
        "by-layer",
    ):
        assert f'id="{name}-title"' in text, name
    assert "NON_FINITE" in text
    assert "wire.up" in text
    assert "60.7 %" in text
    assert "+12.6 points" in text


def test_it_is_one_file_that_asks_for_nothing(run: Path) -> None:
    text = page(History.read(run))
    assert not re.findall(r"<(?:script|link|img|iframe|object)\b", text)
    assert not re.findall(r"url\((?!#)", text)
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert "default-src 'none'" in text


def test_a_name_is_text_and_never_markup(run: Path) -> None:
    text = page(History.read(run))
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_a_client_name_in_a_picture_is_text(tmp_path: Path) -> None:
    folder = made(tmp_path)
    path = folder / "summary.json"
    path.write_text(path.read_text().replace(CLIENTS[0], "<b>&$x$"))
    text = page(History.read(folder))
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    assert page(History.read(run)) == page(History.read(run))


def test_every_picture_says_what_it_shows(run: Path) -> None:
    text = page(History.read(run))
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(pictures) == 7
    for picture in pictures:
        assert re.search(r"<title id=.*?>[^<]+</title>", picture)
        assert re.search(r"<desc id=.*?>[^<]+</desc>", picture)
        assert 'role="img"' in picture


def test_ids_are_unique_and_references_resolve(run: Path) -> None:
    text = page(History.read(run))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
    for pair in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text):
        assert set(pair) - {""} <= set(ids)


def test_no_sentinel_colour_is_left(run: Path) -> None:
    assert not re.findall(r"#01010[0-9]", page(History.read(run)))


def test_gains_and_losses_are_told_apart(run: Path) -> None:
    history = History.read(run)
    assert history.alone("accuracy") == dict(zip(CLIENTS, LOCAL, strict=True))
    assert "7 of 8 clients do better" in page(history)


def test_who_does_as_well_does_not_do_better(run: Path) -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    for own in summary["metrics"]["local"]:
        own.get("metrics", own)["accuracy"] = summary["metrics"]["final"]["accuracy"]
    path.write_text(json.dumps(summary))
    assert "0 of 8 clients do better" in page(History.read(run))


def test_a_layers_matrix_is_averaged_beside_its_diagonal() -> None:
    layers = {
        "a": {"cosine": [[1.0, 0.2], [0.4, 1.0]], "conflict": [[0, 0.5], [0.5, 0]]}
    }
    cosine, conflict = by_layer(layers)["a"]
    assert cosine == pytest.approx(0.3)
    assert conflict == pytest.approx(0.5)


def test_a_run_without_comparisons_still_reports(run: Path) -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"] = {"final": {"loss": 1.5}}
    path.write_text(json.dumps(summary))
    (run / "record.jsonl").write_text("")
    assert "loss 1.500" in page(History.read(run))


@pytest.mark.parametrize("name", ["summary.json", "config.json"])
def test_a_folder_without_a_run_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        write(run)


@pytest.mark.needs_chromium
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_it_can_be_seen(run: Path, tmp_path: Path, mode: str) -> None:
    report, picture = write(run), tmp_path / "seen.png"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
    subprocess.run(
        [
            *CHROMIUM,
            *(dark if mode == "dark" else []),
            "--window-size=1280,2400",
            f"--screenshot={picture}",
            report.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert tuple(pixels[0, 0]) == PAGE[mode]
    drawn = (pixels == np.array(MERGED[mode], np.uint8)).all(axis=2)
    assert drawn.sum() > 1_000


@pytest.mark.needs_chromium
@pytest.mark.parametrize("width", [500, 1280])
def test_nothing_sticks_out(run: Path, tmp_path: Path, width: int) -> None:
    text = re.sub(r"<meta http-equiv[^>]*>", "", page(History.read(run)))
    measure = (
        "<script>document.body.dataset.wide=document.documentElement.scrollWidth"
        "-document.documentElement.clientWidth</script></body>"
    )
    copy = tmp_path / "measured.html"
    copy.write_text(text.replace("</body>", measure))
    seen = subprocess.run(
        [*CHROMIUM, f"--window-size={width},900", "--dump-dom", copy.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert 'data-wide="0"' in seen
