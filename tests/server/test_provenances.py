"""Signed lines, merges computed again, and a contributor taken out."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedelta.client.identities import stem
from fedelta.protocols.errors import CheckpointError, ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import files, provenances
from fedelta.server.cli import app
from fedelta.server.simulations import resume
from fedelta.server.verifications import EQUAL, included, verify
from fedelta.server.withdrawals import withdraw
from tests import tiny
from tests.federations import federate, forged

ONE, OTHER = "client-00", "client-01"


def made(tmp_path: Path, name: str = "a", **tables: Any) -> Config:
    given: dict[str, Any] = {
        "model": {"id": str(tiny.model(tmp_path))},
        "data": {"source": str(tiny.data(tmp_path))},
        "eval": {"local": False},
        "wire": {"up": "fp16"},
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    return tiny.config(tmp_path / name, **given)


@pytest.mark.parametrize(
    "tables",
    [
        {"merge": {"recipe": "ties(density=0.4)", "server_optimizer": "momentum(0.9)"}},
        {"lora": {"space": "frozen-a"}, "merge": {"tree": "regions"}},
        {
            "lora": {"space": "frozen-a"},
            "merge": {"weights": "uniform"},
            "privacy": {"mode": "client", "clip": 0.5, "noise_multiplier": 2.0},
        },
    ],
)
def test_every_merge_is_computed_again_to_the_bit(
    tmp_path: Path, tables: dict[str, Any]
) -> None:
    if "privacy" in tables:
        pytest.importorskip("dp_accounting")
    config = made(tmp_path, run={"rounds": 3}, **tables)
    federate(config, {(OTHER, 2): forged(lambda data: data[:-9])})
    folder = Path(config.run.out)
    ledger = folder / "privacy" / "ledger.jsonl"
    spent = ledger.read_bytes() if ledger.exists() else b""
    assert [one.verdict for one in verify(folder)] == [EQUAL] * 3
    assert (ledger.read_bytes() if ledger.exists() else b"") == spent
    told = {one["round"]: one for one in included(folder, OTHER)}
    assert [told[n]["verdict"] for n in (1, 2, 3)] == [
        "accepted",
        "refused",
        "accepted",
    ]
    assert told[2]["share"] == 0
    assert told[2]["reason"]
    proofs = provenances.read(folder)
    assert [one.round for one in proofs] == [0, 1, 2, 3]
    if ledger.exists():
        heads = [json.loads(line)["digest"] for line in ledger.read_text().splitlines()]
        assert [one.said["ledger"] for one in proofs] == ["", *heads]
        with pytest.raises(ConfigError, match="would tell what it sent"):
            withdraw(folder, ONE)


def test_what_was_changed_is_found_and_named(tmp_path: Path) -> None:
    config = made(tmp_path)
    federate(config)
    folder = Path(config.run.out)
    runner = CliRunner()
    assert runner.invoke(app, ["verify", str(folder)]).exit_code == 0
    payload = folder / "journal" / "round-0002" / f"{stem(ONE)}.payload"
    whole = payload.read_bytes()
    payload.unlink()
    found = verify(folder)
    assert found[0].verdict == EQUAL
    assert found[1].verdict == "not computed"
    assert ONE in found[1].detail
    payload.write_bytes(whole)
    manifest = folder / "journal" / "round-0001" / "manifest.json"
    said = files.read_json(manifest)
    swapped = dict(
        zip(said["accepted"], reversed(said["accepted"].values()), strict=True)
    )
    files.write_json(manifest, said | {"accepted": swapped})
    found = verify(folder)
    assert "other replies than the signed line" in found[0].detail
    assert runner.invoke(app, ["verify", str(folder)]).exit_code == 1
    files.write_json(manifest, said)


def test_lines_that_were_changed_are_refused(tmp_path: Path) -> None:
    config = made(tmp_path)
    federate(config)
    folder = Path(config.run.out)
    path = folder / provenances.FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(CheckpointError, match="line 2"):
        verify(folder)
    path.write_text("".join(lines[:2]))
    with pytest.raises(CheckpointError, match="the last round committed"):
        verify(folder)
    path.write_text("".join(lines).replace('"share":', '"share" :', 1))
    verify(folder)  # the same words in other spaces
    path.write_text("".join(lines).replace('"accepted"', '"refused"', 1))
    with pytest.raises(CheckpointError, match="signed"):
        verify(folder)
    path.write_text("".join(lines))
    with pytest.raises(CheckpointError, match="not signed by"):
        verify(folder, "11" * 32)
    with pytest.raises(CheckpointError, match="no Ed25519"):
        verify(folder, "11")


def test_an_update_that_the_replies_do_not_merge_to_is_found(tmp_path: Path) -> None:
    """A coordinator that merges something else signs its lines in vain."""
    config = made(tmp_path, run={"rounds": 1})
    federate(config)
    folder = Path(config.run.out)
    manifest = folder / "journal" / "round-0001" / "manifest.json"
    said = files.read_json(manifest)
    kept = files.read_json(folder / "journal" / "round-0000" / "manifest.json")
    line = json.loads((folder / provenances.FILE).read_text().splitlines()[1])
    lie = [one | {"verdict": "refused"} for one in line["contributions"][:1]]
    body = {k: v for k, v in line.items() if k not in ("digest", "signature", "before")}
    body["contributions"] = lie + line["contributions"][1:]
    said["provenance"] = provenances.extend(folder, body, kept["provenance"])
    dropped = lie[0]["client"]
    del said["accepted"][dropped]
    files.write_json(manifest, said)
    (finding,) = verify(folder)
    assert finding.verdict == "not equal"
    assert "the replies merge to another" in finding.detail


def test_lines_of_uncommitted_rounds_are_written_over(tmp_path: Path) -> None:
    config = made(tmp_path)
    federate(config)
    folder = Path(config.run.out)
    (folder / "summary.json").unlink()
    (folder / "journal" / "round-0002" / "manifest.json").unlink()
    (folder / "state" / "round-0002").rename(folder / "state" / "round-0001")
    resume(folder, workers=0)
    assert [one.round for one in provenances.read(folder)] == [0, 1, 2]


def gone(reply: Any) -> Any:
    raise RuntimeError("gone")


@pytest.mark.parametrize("space", ["product", "frozen-a", "core"])
def test_a_withdrawn_clients_replies_leave_no_trace(tmp_path: Path, space: str) -> None:
    lora = {"space": space}
    config = made(tmp_path, run={"rounds": 1}, lora=lora)
    federate(config)
    found = withdraw(Path(config.run.out), ONE)
    again = made(tmp_path, "b", run={"rounds": 1}, lora=lora)
    summary = federate(again, {(ONE, 1): gone})
    assert summary["refused"]
    assert found["model_digest"] == summary["model_digest"]


def test_withdrawing_says_what_changed_and_what_is_not_undone(tmp_path: Path) -> None:
    config = made(tmp_path)
    federate(config)
    folder = Path(config.run.out)
    found = withdraw(folder, ONE)
    assert "later rounds were trained from models that held" in found["note"]
    assert [one["replies"] for one in found["rounds"]] == [3, 3]
    assert set(found["metrics"]["without"]) == set(found["metrics"]["with"])
    assert (folder / "withdrawn" / stem(ONE) / "model").is_dir()
    late = withdraw(folder, ONE, first=2)
    assert [one["left_out"] for one in late["rounds"]] == [False, True]
    assert 0 < late["moved"] < found["moved"]
    with pytest.raises(ConfigError, match="nothing of 'nobody' was merged"):
        withdraw(folder, "nobody")
    told = CliRunner().invoke(app, ["withdraw", str(folder), "--client", ONE])
    assert told.exit_code == 0, told.output
    assert "run again without" in told.output
