"""Nothing of a client's data is in any byte that leaves it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from flwr.app import RecordDict
from transformers import AutoTokenizer

from fedelta.client import baselines, sessions
from fedelta.client.worker import Job, handle
from fedelta.protocols import messages
from fedelta.protocols.settings import Config
from tests import tiny

from . import rounds

SECRET = "zebrafish-7781"  # noqa: S105
NUMBER = 918273645546372


def planted(folder: Path) -> tuple[Config, Job]:
    """A client whose texts, file name and state folder hold canaries."""
    rows = tiny.rows(40, 2)
    for row in rows:
        row["text"] = f"{SECRET} {row['text']} {NUMBER}"
    path = folder / f"{SECRET}.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    clients = [
        {"name": "a", "data": str(path)},
        {"name": "b", "data": str(tiny.data(folder, 40, 2, name="b.jsonl"))},
    ]
    config = tiny.config(folder, clients=clients, eval={"where": "both"})
    return config, rounds.job(config, folder / f"state-{SECRET}", "a")


def canaries(config: Config) -> Iterator[bytes]:
    """What must not be found: words, paths, token ids in the usual widths."""
    import numpy as np

    yield from (SECRET.encode(), str(NUMBER).encode(), SECRET[:9].encode())
    ids = AutoTokenizer.from_pretrained(config.model.id)(SECRET)["input_ids"]
    for kind in (np.int64, np.int32, np.int16, np.uint16):
        yield np.array(ids[:6], kind).tobytes()
    yield json.dumps(ids[:6]).encode()
    yield json.dumps(ids[:6], separators=(",", ":")).encode()


def unpacked(data: bytes) -> bytes:
    """A message's bytes, and whatever in them can be decompressed."""
    found = [data]
    at = data.find(b"\x28\xb5\x2f\xfd")
    while at >= 0:
        try:
            reader = zstandard.ZstdDecompressor().decompressobj()
            found.append(reader.decompress(data[at:]))
        except zstandard.ZstdError:
            pass
        at = data.find(b"\x28\xb5\x2f\xfd", at + 1)
    return b"\0".join(found)


def replies(config: Config, where: Job) -> Iterator[tuple[str, bytes]]:
    """Every kind of reply, good and bad."""
    base = sessions.session(str(where.run_config["config"])).base
    asked = rounds.plan(base, config, client="a")
    for wire in ("sign256", "fp32", "sparse(density=0.05)", "dare(density=0.1)"):
        content = messages.plan_content(replace(asked, wire=wire), [])
        yield wire, handle(where, rounds.sent(content))
    plain = messages.plan_content(asked, [])
    yield "evaluate", handle(where, rounds.sent(plain, "evaluate"))
    yield "query", handle(where, rounds.sent(RecordDict(), "query"))
    yield "alone", handle(where, rounds.sent(baselines.question("own"), "train.alone"))
    for name, wrong in broken(where):
        yield name, handle(wrong, rounds.sent(plain))


def broken(where: Job) -> Iterator[tuple[str, Job]]:
    """Jobs that fail with an exception that quotes data or paths."""
    said: dict[str, Any] = json.loads(str(where.run_config["config"]))
    column = said | {"data": said["data"] | {"text": f"{SECRET}-column"}}
    gone = json.loads(json.dumps(said))
    gone["clients"][0]["data"] += ".gone"
    model = said | {"model": said["model"] | {"id": f"/nowhere/{SECRET}"}}
    for name, wrong in (("column", column), ("gone", gone), ("model", model)):
        yield name, replace(where, run_config={"config": json.dumps(wrong)})
    yield "stranger", replace(where, node_config={"client": SECRET, "state": "s"})


def test_canaries_are_found_in_nothing_that_leaves(tmp_path: Path) -> None:
    config, where = planted(tmp_path)
    wanted = list(canaries(config))
    for name, data in replies(config, where):
        whole = unpacked(data)
        for canary in wanted:
            assert canary not in whole, (name, canary)
        failed = messages.from_bytes(data).has_error()
        assert failed == (name in {"column", "gone", "model", "stranger"}), name


def test_the_search_itself_finds(tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor().compress(f"..{SECRET}..".encode() * 50)
    assert SECRET.encode() in unpacked(b"head" + packed + b"tail")


@pytest.mark.parametrize("error", [KeyError(SECRET), ValueError(f"at {SECRET}")])
def test_only_the_type_of_a_foreign_error_travels(error: Exception) -> None:
    from fedelta.client.failures import public_reason

    assert SECRET not in public_reason(error)
    assert type(error).__name__ in public_reason(error)
