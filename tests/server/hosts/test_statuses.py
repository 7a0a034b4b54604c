"""The status service over real TLS: who sees what, and who sees nothing."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fedelta.client.joins import keys, reports
from fedelta.client.joins import statuses as asking
from fedelta.client.joins.folders import JoinFolder
from fedelta.protocols import digests
from fedelta.protocols.errors import FedeltaError
from fedelta.protocols.status import status_pb2 as messages
from fedelta.protocols.status import wires
from fedelta.server import files
from fedelta.server.hosts import admissions, rosters, statuses
from fedelta.server.hosts.asking import status as as_coordinator
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.journal import Journal
from fedelta.server.records import Record

from .federations import host, join


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostFolder]:
    folder = host(tmp_path / "host")
    server, service = statuses.serve(folder)
    yield folder
    service.ending.set()
    server.stop(0).wait()


@pytest.fixture
def member(hosted: HostFolder, tmp_path: Path) -> JoinFolder:
    return join(hosted, tmp_path / "a", "a")


@pytest.fixture
def run(hosted: HostFolder) -> Path:
    """A run of one committed round: a's reply accepted, b's refused."""
    path = hosted.runs / "first"
    journal = Journal(path)
    journal.hold()
    files.write_json(path / "config.json", {"run": {"rounds": 2}})
    record = Record(path / "record.jsonl")
    record.add("run", run="00ff", name="first", rounds=2, base="b" * 64)
    sealed = digests.of_bytes(b"payload")
    note = {"bytes": 7, "down": 0, "weight": 3, "digest": sealed}
    journal.seal(1, "a", b"payload", note)
    told = {"round": 1, "reason": None, **note}
    record.add("contribution", client="a", verdict="accepted", **told)
    refused = {"round": 1, "bytes": 9, "detail": "9 is more than 1"}
    record.add(
        "contribution", client="b", verdict="refused", reason="NORM_CAP", **refused
    )
    record.add("diagnostics", round=1, clients=["a", "b"], cosine=[[1.0]])
    record.add("release", round=1, digest="m" * 64, update="u" * 64, bytes=11)
    journal.commit(1, {"accepted": {"a": sealed}, "model_digest": "m" * 64})
    record.add("release", round=2, digest="n" * 64, update="v" * 64, bytes=11)
    record.close()
    journal.release()
    return path


def finish(run: Path) -> None:
    files.write(run / "model" / "adapter.bin", bytes(range(256)) * 12_000)
    files.write(run / "model" / "deep" / "empty.json", b"")
    files.write_json(run / "summary.json", {"model_digest": "n" * 64})


def test_a_member_sees_itself_and_its_runs(member: JoinFolder, run: Path) -> None:
    with asking.status(member) as asked:
        seen = asked.overview()
    assert seen.caller == "a"
    assert [one.name for one in seen.members] == ["a"]
    assert not seen.processes
    (told,) = seen.runs
    assert (told.name, told.round, told.rounds, told.state) == (
        "first",
        1,
        2,
        "stopped",
    )


def test_a_verdict_comes_with_its_proof(member: JoinFolder, run: Path) -> None:
    with asking.status(member) as asked:
        (verdict,) = asked.verdicts().verdicts
    assert verdict.merged
    assert verdict.digest == digests.of_bytes(b"payload")
    manifest = (run / "journal" / "round-0001" / "manifest.json").read_bytes()
    assert verdict.manifest == digests.of_bytes(manifest)
    assert verdict.model_digest == "m" * 64


def test_a_refusal_comes_with_its_reason_and_to_its_owner_alone(
    hosted: HostFolder, tmp_path: Path, run: Path
) -> None:
    other = join(hosted, tmp_path / "b", "b")
    with asking.status(other) as asked:
        (verdict,) = asked.verdicts().verdicts
        kinds = [event.kind for event in asked.watch(follow=False)]
        mine = [json.loads(e.json).get("client") for e in asked.watch(follow=False)]
    assert (verdict.reason, verdict.detail) == ("NORM_CAP", "9 is more than 1")
    assert not verdict.merged
    assert "diagnostics" not in kinds
    assert "a" not in mine
    assert "b" in mine


def test_a_refusal_before_round_1_is_told(member: JoinFolder, run: Path) -> None:
    detail = "KeyError: see this client's own log"
    told = {"verdict": "refused", "reason": "CLIENT_ERROR", "detail": detail}
    with (run / "record.jsonl").open("a") as file:
        for name in "ab":
            line = {"kind": "enrolment", "at": 1.0, "client": name, **told}
            file.write(json.dumps(line) + "\n")
    with asking.status(member) as asked:
        *_, last = reports.verdicts(asked.verdicts(), "logs/client.log")
    wanted = "before round 1: refused, CLIENT_ERROR: KeyError: see logs/client.log"
    assert last.strip() == wanted


def test_the_ledger_is_told(member: JoinFolder, run: Path) -> None:
    """What the run has spent, to everybody; what a client has, to itself."""
    noise = {"kind": "privacy", "round": 1, "epsilon": 0.5, "delta": 1e-5, "clip": 2.0}
    with (run / "record.jsonl").open("a") as file:
        file.write(json.dumps(noise) + "\n")
        for name, spent in (("a", 0.25), ("b", 0.75)):
            told = {"round": 2, "client": name, "metrics": {"epsilon": spent}}
            file.write(json.dumps({"kind": "contribution", **told}) + "\n")
    with asking.status(member) as asked:
        lines = list(reports.ledger(asked.watch(follow=False)))
    assert lines == [
        "  round 1: the run has spent epsilon 0.5 at delta 1e-05, clip 2",
        "  round 2: you have spent epsilon 0.25",
    ]


def test_the_coordinator_sees_all(hosted: HostFolder, run: Path) -> None:
    with as_coordinator(hosted) as asked:
        kinds = [event.kind for event in asked.watch(follow=False)]
    assert kinds.count("contribution") == 2
    assert "diagnostics" in kinds


def test_what_is_not_committed_is_not_released(member: JoinFolder, run: Path) -> None:
    with asking.status(member) as asked:
        found = asked.releases().releases
    assert [one.round for one in found] == [1]


def test_a_stream_goes_on_where_it_was_cut(member: JoinFolder, run: Path) -> None:
    with asking.status(member) as asked:
        places = [event.place for event in asked.watch(follow=False)]
        rest = [event.place for event in asked.watch(place=places[1], follow=False)]
    assert rest == places[2:]


def test_a_stream_tells_what_happens_next(member: JoinFolder, run: Path) -> None:
    def happen() -> None:
        with (run / "record.jsonl").open("a") as file:
            file.write('{"kind":"round","at":9.0,"round":2')
            file.flush()
            threading.Event().wait(0.8)
            file.write("}\n")

    with asking.status(member) as asked:
        stream = asked.watch()
        seen = [next(stream).kind for _ in range(4)]
        thread = threading.Thread(target=happen)
        thread.start()
        event = next(stream)
        thread.join()
    assert seen == ["run", "contribution", "release", "release"]
    assert json.loads(event.json) == {"kind": "round", "at": 9.0, "round": 2}


def test_a_model_is_pulled_whole(member: JoinFolder, run: Path) -> None:
    with asking.status(member) as asked:
        with pytest.raises(FedeltaError, match="not released its model yet"):
            asked.pull(member.models)
        finish(run)
        found = asked.pull(member.models)
    assert [one.relative_to(member.models).as_posix() for one in found] == [
        "adapter.bin",
        "deep/empty.json",
    ]
    for one in found:
        sent = run / "model" / one.relative_to(member.models)
        assert one.read_bytes() == sent.read_bytes()


def test_the_revoked_see_nothing(
    hosted: HostFolder, member: JoinFolder, run: Path
) -> None:
    with asking.status(member) as asked:
        asked.overview()
        rosters.revoke(hosted.roster, "a", admissions.now())
        with pytest.raises(FedeltaError, match="not on the roster"):
            asked.overview()
        with pytest.raises(FedeltaError, match="not on the roster"):
            next(asked.watch())


def test_another_federations_member_sees_nothing(
    hosted: HostFolder, tmp_path: Path
) -> None:
    other = host(tmp_path / "other")
    stranger = join(other, tmp_path / "s", "a")
    channel = wires.channel(
        f"127.0.0.1:{hosted.settings.host.status_port}",
        hosted.authority.read_bytes(),
        keys.private_pem(stranger.private),
        stranger.invitation.certificate.encode(),
    )
    with channel, pytest.raises(FedeltaError, match="does not answer"):
        asking.Status(channel, "x").overview()


def test_without_a_certificate_nothing_is_seen(hosted: HostFolder) -> None:
    trusted = grpc.ssl_channel_credentials(hosted.authority.read_bytes())
    address = f"127.0.0.1:{hosted.settings.host.status_port}"
    with grpc.secure_channel(address, trusted) as channel, pytest.raises(grpc.RpcError):
        health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=5
        )


def test_health_is_told_to_members(member: JoinFolder, hosted: HostFolder) -> None:
    channel = wires.channel(
        member.invitation.status,
        member.authority.read_bytes(),
        keys.private_pem(member.private),
        member.invitation.certificate.encode(),
    )
    with channel:
        said = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=wires.SERVICE), timeout=5
        )
    assert said.status == health_pb2.HealthCheckResponse.SERVING


def test_a_long_question_is_refused(member: JoinFolder) -> None:
    with (
        asking.status(member) as asked,
        pytest.raises(FedeltaError, match="larger than max"),
    ):
        asked.verdicts("x" * (80 << 10))


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ""])
def test_a_file_never_lands_outside(tmp_path: Path, path: str) -> None:
    with asking._Receiving(tmp_path) as receiving:
        chunk = messages.Chunk(path=path, size=1, data=b"x", digest="d")
        with pytest.raises(FedeltaError, match="sent a file named"):
            receiving.take(chunk)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    with asking._Receiving(tmp_path) as receiving:
        chunk = messages.Chunk(path="x", size=1, data=b"x", digest="0" * 64)
        with pytest.raises(FedeltaError, match="not what was sent"):
            receiving.take(chunk)
    assert not list(tmp_path.iterdir())


def test_a_host_that_is_not_up_is_told_how(tmp_path: Path) -> None:
    with (
        as_coordinator(host(tmp_path / "host")) as asked,
        pytest.raises(FedeltaError, match=r"is `fedelta host up .*running"),
    ):
        asked.overview()
