"""`fedelta inspect`: what is in a file, from the file alone."""

import json
import math
from pathlib import Path

import pytest

from fedelta.protocols.errors import ConfigError, PayloadError
from fedelta.server.cli import main
from fedelta.server.inspection import floor, inspect

from ..protocols.samples import SMALL, WIRES, accepted, payload

GOLDEN = Path(__file__).parents[1] / "protocols" / "golden"


@pytest.mark.parametrize("text", WIRES)
def test_streams_add_up_to_the_file(text: str, tmp_path: Path) -> None:
    data = payload(SMALL, text)
    path = tmp_path / "one.payload"
    path.write_bytes(data)
    found = inspect(path)
    read = accepted(data, SMALL.layout)
    assert sum(found["streams"].values()) == found["bytes"] == len(data)
    assert found["header"]["wire"] == str(read.wire)
    assert found["kept"] == read.kept
    if found["size"] is not None:
        assert found["size"] == SMALL.layout.size
        assert found["times_smaller"] == 4 * SMALL.layout.size / len(data)
    if found["formats"]:
        assert found["formats"] == read.formats()
    if read.wire.places == "gaps":
        assert found["positions"]["floor"] == pytest.approx(
            math.log2(math.comb(SMALL.layout.size, read.kept)) / 8
        )


def test_floor() -> None:
    for size, kept in ((10, 3), (300, 299), (5, 5)):
        assert floor(size, kept) == pytest.approx(math.log2(math.comb(size, kept)))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.payload")), ids=str)
def test_every_version_is_told(path: Path) -> None:
    found = inspect(path)
    assert sum(found["streams"].values()) == path.stat().st_size


def test_at_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(GOLDEN / "wide-2.payload"), *words])
        assert not ended.value.code
        said = capsys.readouterr().out
        assert "sparse(density=0.003, values='fp16')" in said
    assert json.loads(said)["positions"]["bytes"] == 272


def test_what_is_no_payload(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(ConfigError, match="No such file"):
        inspect(path)
    for data in (b"", b"PK" * 40, (GOLDEN / "fp16.payload").read_bytes()[:700]):
        path.write_bytes(data)
        with pytest.raises(PayloadError, match="BAD_"):
            inspect(path)
