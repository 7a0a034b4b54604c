"""What institutions sign of what they send, and find again in a run's lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import RecordDict
from typer.testing import CliRunner

from fedelta.client.joins.commands import app
from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.inclusions import inclusions
from fedelta.protocols import chains, digests, messages
from fedelta.protocols.refusals import Reason, Refusal
from fedelta.protocols.settings import Config
from fedelta.server import provenances
from fedelta.server.signings import signed, vouched
from fedelta.server.verifications import EQUAL, verify
from tests import tiny
from tests.client.joins.test_masked import FLOOR, joined, pinned, run


def plain(root: Path, folders: dict[str, JoinFolder], **tables: Any) -> Config:
    given = {
        "run": {"rounds": 2},
        "model": {"head": "linear"},
        "data": {"source": "each its own", "labels": tiny.CLASSES[:4]},
        "clients": [
            {"name": name, "data": one.policy.data.file}
            for name, one in folders.items()
        ],
        "eval": {"local": False},
    }
    return tiny.config(root, **given | tables)


def test_what_institutions_signed_is_in_the_lines(tmp_path: Path) -> None:
    folders = joined(tmp_path, "secure_aggregation = false")
    config = plain(tmp_path, folders)
    run(config, folders)
    out = Path(config.run.out)
    assert [one.verdict for one in verify(out)] == [EQUAL, EQUAL]
    assert json.loads((out / "signers.json").read_text()).keys() == folders.keys()
    path = out / provenances.FILE
    runner = CliRunner()
    for one in folders.values():
        words = ["included", str(one.root), str(path)]
        told = runner.invoke(app, words)
        assert told.exit_code == 0, told.output
        assert told.output.count("in, as it was signed here") == 2
    north = folders["north"]
    (sent,) = (north.state / "runs").rglob("signed.jsonl")
    kept = sent.read_text()
    sent.write_text(kept.splitlines()[0] + "\n")
    assert [one.good for one in inclusions(north, path)] == [True, False]
    sent.write_text(kept)
    again = rewritten(out, lambda one: one | {"digest": "0" * 64})
    assert "did not sign" in verify(out)[1].detail
    again(lambda one: one | {"client": "nobody"})
    left = list(inclusions(north, path))
    assert not left[-1].good
    assert "the line does not speak of it" in left[-1].said
    told = runner.invoke(app, ["included", str(north.root), str(path)])
    assert told.exit_code == 1


def rewritten(out: Path, change: Callable[[Any], Any]) -> Callable[..., None]:
    """A coordinator writes its last line again, with its own key."""
    path = out / provenances.FILE
    *before, last = path.read_text().splitlines(keepends=True)
    manifest = max(out.glob("journal/round-*/manifest.json"))
    whole = json.loads(manifest.read_text())

    def write(change: Callable[[Any], Any]) -> None:
        body = {k: v for k, v in json.loads(last).items() if k not in SIGNED}
        body["contributions"] = [
            change(one) if one["client"] == "north" else one
            for one in body["contributions"]
        ]
        kept = {"digest": json.loads(before[-1])["digest"]}
        kept["length"] = len("".join(before))
        said = provenances.extend(out, body, kept)
        accepted = {one["client"]: one["digest"] for one in body["contributions"]}
        told = whole | {"provenance": said, "accepted": accepted}
        manifest.write_text(json.dumps(told))

    write(change)
    return write


SIGNED = ("digest", "signature", "before")


def test_masked_rounds_hold_adverts_and_say_so(tmp_path: Path) -> None:
    folders = joined(tmp_path, FLOOR)
    pinned(folders, tmp_path)
    tables = {"lora": {"space": "frozen-a"}, "privacy": {"secure_aggregation": True}}
    config = plain(tmp_path, folders, run={"rounds": 1}, **tables)
    run(config, folders)
    out = Path(config.run.out)
    assert [one.detail for one in verify(out)] == ["read off the opened sums"]
    for one in folders.values():
        (found,) = inclusions(one, out / provenances.FILE)
        assert found.good, found.said


def reply(*told: Any) -> RecordDict:
    return messages.reply_content(b"abc", {}, told or None)


def test_signatures_that_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, other = (Ed25519PrivateKey.from_private_bytes(bytes([k]) * 32) for k in (1, 2))

    def of(one: Ed25519PrivateKey, name: str = "a", data: bytes = b"abc") -> RecordDict:
        text = chains.contribution("run", name, digests.of_bytes(data))
        public = one.public_key().public_bytes_raw().hex()
        return reply(public, one.sign(text).hex())

    def judged(content: RecordDict) -> object:
        found = signed(content, "run", "a", b"abc", tmp_path)
        return found.reason if isinstance(found, Refusal) else bool(found)

    assert judged(reply()) is False
    assert judged(of(key, "b")) is Reason.BAD_SIGNATURE
    assert judged(of(key, data=b"abd")) is Reason.BAD_SIGNATURE
    assert judged(reply("zz", "zz")) is Reason.BAD_SIGNATURE
    assert judged(of(key)) is True
    assert judged(of(other)) is Reason.BAD_SIGNATURE
    said = {"digest": digests.of_bytes(b"abc")}
    for one, wanted in ((key, dict), (other, Refusal)):
        told = dict(of(one)["fedelta.signed"])
        assert isinstance(vouched(said | told, "run", "a", tmp_path), wanted)
    assert vouched(said, "run", "new", tmp_path) == {}
    assert judged(reply()) is Reason.BAD_SIGNATURE
    assert judged(reply("x" * 999, "")) is Reason.BAD_OBJECT
