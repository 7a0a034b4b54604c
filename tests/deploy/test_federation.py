"""A coordinator and two institutions over TLS on loopback: from keys to a model."""

import base64
import datetime as dt
import json
import os
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fedelta.client.joins import keys
from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.runtimes import state_of
from fedelta.server.hosts.folders import HostFolder
from tests import tiny
from tests.server.hosts.federations import (
    CONFIG,
    Processes,
    host,
    join,
    left_behind,
    run,
    wait,
)

pytestmark = [pytest.mark.slow, pytest.mark.needs_nginx]
NAMES = ("hospital-a", "hospital-b")


@dataclass
class Federation:
    """What the tests of this file share."""

    host: HostFolder
    members: dict[str, JoinFolder]
    processes: Processes
    config: Path
    root: Path


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    root = tmp_path_factory.mktemp("federation")
    config = root / "run.toml"
    test = tiny.data(root, 24, 4, "test.jsonl", 9)
    model = tiny.model(root)
    config.write_text(
        CONFIG.format(model=json.dumps(str(model)), test=json.dumps(str(test)))
    )
    hosted = host(root / "host")
    members = {
        name: join(
            hosted, root / name, name, str(tiny.data(root, 48, 4, f"{name}.jsonl", at))
        )
        for at, name in enumerate(NAMES)
    }
    with Processes(root / "out") as processes:
        processes.start("host", "host", "up", str(hosted.root))
        processes.until("host", "nodes may join")
        for name, member in members.items():
            processes.start(name, "join", "up", str(member.root))
        yield Federation(hosted, members, processes, config, root)
    assert not left_behind([hosted.root, *(one.root for one in members.values())])


@pytest.fixture(scope="module")
def finished(federation: Federation) -> Path:
    """The folder of a run whose SuperLink was killed while it ran."""
    words = [str(federation.config), "--dir", str(federation.host.root)]
    federation.processes.start("run", "host", "run", *words)
    out = federation.host.runs / "tiny"
    record = out / "record.jsonl"
    wait(lambda: record.exists() and '"round":0' in record.read_text(), "round 0", 240)
    pid = state_of(federation.host.state / "up.json")["services"]["superlink"]["pid"]
    os.kill(pid, signal.SIGKILL)
    federation.processes.running["run"].wait(300)
    assert (out / "summary.json").exists(), federation.processes.said("run")
    return out


def test_checks_are_all_ticks(federation: Federation) -> None:
    member = federation.members["hospital-a"]
    wait(
        lambda: "online" in run("join", "status", str(member.root)).stdout,
        "hospital-a is online",
    )
    done = run("join", "check", str(member.root))
    assert "✗" not in done.stdout
    assert "known as hospital-a (online)" in done.stdout


def test_every_institution_is_merged_once_a_round(finished: Path) -> None:
    record = finished / "record.jsonl"
    lines = [json.loads(text) for text in record.read_text().splitlines()]
    told = [
        (one["round"], one["client"], one["verdict"])
        for one in lines
        if one["kind"] == "contribution"
    ]
    assert sorted(told) == [
        (number, name, "accepted") for number in (1, 2) for name in NAMES
    ]


def test_the_model_is_the_simulations(finished: Path, federation: Federation) -> None:
    """The same clients on the same data, in processes of one machine: equal bytes."""
    own = federation.root / "alike.toml"
    tables = "".join(
        f'[[clients]]\nname = "{name}"\ndata = {json.dumps(one.policy.data.file)}\n'
        for name, one in federation.members.items()
    )
    text = federation.config.read_text() + tables
    text = text.replace('source = ""', 'source = "each its own"')
    own.write_text(text)
    out = federation.root / "alike"
    run("simulate", str(own), "--out", str(out), "--set", "eval.local=false", "-q")
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (out / "model" / name).read_bytes() == (
            finished / "model" / name
        ).read_bytes()


def test_members_learn_their_verdicts_and_pull(
    finished: Path, federation: Federation
) -> None:
    member = federation.members["hospital-b"]
    said = run("join", "status", str(member.root)).stdout
    assert said.count("accepted") == 2
    assert said.count("merged (manifest") == 2
    run("join", "pull", str(member.root))
    pulled = member.models / "tiny" / "adapter_model.safetensors"
    sent = finished / "model" / "adapter_model.safetensors"
    assert pulled.read_bytes() == sent.read_bytes()


def test_superlink_was_started_again(finished: Path, federation: Federation) -> None:
    log = (federation.host.logs / "host.log").read_text()
    assert "superlink died (SIGKILL)" in log
    assert "superlink was started again" in log


def test_nothing_of_a_bundle_is_unpacked_by_members(
    finished: Path, federation: Federation
) -> None:
    for member in federation.members.values():
        assert not (member.flower / "apps").exists()


# The anonymous peer: everything that somebody without an admitted key may try.


def peer(federation: Federation) -> httpx.Client:
    trusted = ssl.create_default_context(cafile=str(federation.host.authority))
    port = federation.host.settings.host.port
    return httpx.Client(
        base_url=f"https://127.0.0.1:{port}", verify=trusted, timeout=20
    )


def signed(private: Path, public: Path) -> dict[str, str]:
    """Headers as a node of Flower's signs them."""
    from flwr.supercore.primitives.asymmetric import sign_message

    at = dt.datetime.now(dt.UTC).isoformat()
    signature = sign_message(keys.read_private(private), at.encode())
    return {
        "content-type": "application/protobuf",
        "flwr-public-key": base64.b64encode(
            keys.public_pem(public.read_text())
        ).decode(),
        "flwr-timestamp": at,
        "flwr-signature": base64.b64encode(signature).decode(),
    }


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/control/list-runs",
        "/v1/runtime/acquire-task",
        "/v1/runtime/responses",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/docs",
        "/openapi.json",
        "/health",
        "/",
    ],
)
def test_a_stranger_finds_no_other_path(federation: Federation, path: str) -> None:
    with peer(federation) as client:
        said = client.post(path, headers={"content-type": "application/protobuf"})
    assert said.status_code == 404


def test_a_stranger_with_a_key_is_not_let_in(
    federation: Federation, tmp_path: Path
) -> None:
    keys.create(tmp_path / "k", tmp_path / "k.pub", "stranger")
    with peer(federation) as client:
        said = client.post(
            "/v1/fleet/activate-node",
            headers=signed(tmp_path / "k", tmp_path / "k.pub"),
        )
    assert said.status_code == 403


def test_knowing_a_members_public_key_is_not_enough(
    federation: Federation, tmp_path: Path
) -> None:
    keys.create(tmp_path / "k", tmp_path / "k.pub", "stranger")
    forged = signed(tmp_path / "k", federation.members["hospital-a"].public)
    with peer(federation) as client:
        said = client.post("/v1/fleet/activate-node", headers=forged)
    assert said.status_code == 401


def test_a_stranger_moves_no_memory(federation: Federation) -> None:
    pid = state_of(federation.host.state / "up.json")["services"]["superlink"]["pid"]

    def resident() -> int:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    before = resident()
    with peer(federation) as client:
        for _ in range(20):
            said = client.post("/v1/fleet/push-object", content=bytes(7 << 20))
            assert said.status_code in {403, 429}
        said = client.post("/v1/fleet/push-object", content=bytes(9 << 20))
        assert said.status_code == 413
    assert resident() - before < 8 << 10, "KiB"


def test_flowers_own_port_listens_on_loopback_alone(federation: Federation) -> None:
    port = f"{federation.host.settings.inside.superlink_port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [
        line.split()[1] for line in lines if line.split()[3] == "0A" and port in line
    ]
    assert f"0100007F:{port}" in listening
    assert f"00000000:{port}" not in listening


def test_a_plan_outside_the_policy_is_refused_and_said(
    finished: Path, federation: Federation
) -> None:
    member = federation.members["hospital-a"]
    policy = member.root / "join.toml"
    before = policy.read_text()
    policy.write_text(before.replace("steps = 1000", "steps = 1"))
    try:
        words = ["--set", "run.out=refused", "--set", "run.rounds=1"]
        run(
            "host", "run", str(federation.config), "--dir", str(federation.host.root),
            *words,
        )  # fmt: skip
    finally:
        policy.write_text(before)
    text = (federation.host.runs / "refused" / "record.jsonl").read_text()
    (line,) = [
        one for one in map(json.loads, text.splitlines()) if one["kind"] == "enrolment"
    ]
    assert line["client"] == "hospital-a"
    assert "train.steps is 2, allowed is at most 1" in line["detail"]


def test_the_revoked_are_out_at_once(finished: Path, federation: Federation) -> None:
    member = federation.members["hospital-b"]
    run("host", "revoke", "hospital-b", "--dir", str(federation.host.root))
    headers = signed(member.private, member.public)

    def out() -> bool:
        with peer(federation) as client:
            said = client.post("/v1/fleet/pull-messages", headers=headers)
        return said.status_code == 403

    wait(out, "the proxy has read its list again", 10)
    done = run("join", "status", str(member.root), check=False)
    assert done.returncode == 1
    assert "not on the roster" in done.stderr
