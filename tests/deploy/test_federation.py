"""A coordinator and two institutions over TLS on loopback: from keys to a model."""

import json
import re
import ssl
from pathlib import Path

import pytest

import fedelta
from tests.deploy.conftest import NAMES, Federation
from tests.server.hosts.federations import run, wait
from tests.server.hosts.scrapes import asked

pytestmark = [pytest.mark.slow, pytest.mark.needs_nginx]
DEPLOY = Path(fedelta.__file__).parent / "deploy"


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


def test_members_find_what_they_signed_in_the_lines(
    finished: Path, federation: Federation
) -> None:
    for member in federation.members.values():
        words = ("included", str(member.root), str(finished / "provenance.jsonl"))
        assert run("join", *words).stdout.count("in, as it was signed here") == 2


def test_superlink_was_started_again(finished: Path, federation: Federation) -> None:
    log = (federation.host.logs / "host.log").read_text()
    assert "superlink died (SIGKILL)" in log
    assert "superlink was started again" in log


def test_nothing_of_a_bundle_is_unpacked_by_members(
    finished: Path, federation: Federation
) -> None:
    for member in federation.members.values():
        assert not (member.flower / "apps").exists()


def test_the_dashboard_asks_for_nothing_that_is_not_there(
    finished: Path, federation: Federation
) -> None:
    """While the run went on, and after it: every name of dashboard and alerts."""
    told = asked(federation.host.settings.inside.metrics_port)
    names = federation.scraped | told.keys()
    wanted = {
        name
        for path in (DEPLOY / "grafana/fedelta.json", DEPLOY / "prometheus/alerts.yml")
        for name in re.findall(r"\bfedelta_\w+", path.read_text())
    }
    assert len(wanted) > 15
    # nothing was refused here: tests/server/hosts/test_exporters.py has refusals
    assert wanted - names == {"fedelta_refusals_total"}
    assert told["fedelta_members"] == {("online",): 2}
    assert told["fedelta_replies_total"]["hospital-a", "tiny", "accepted"] == 2
    assert told["fedelta_process_restarts_total"]["superlink",] == 1


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
    why = "train.steps is 2, allowed is at most 1"
    assert line["client"] == "hospital-a"
    assert why in line["detail"]
    told = run("join", "status", str(member.root), "--run", "refused").stdout
    assert "before round 1: refused, CLIENT_ERROR: NotAgreedError: " in told
    assert why in told
    assert why in federation.processes.said("hospital-a")


def test_logs_are_json_and_say_what_they_are_about(
    finished: Path, federation: Federation
) -> None:
    host, member = federation.host.logs, federation.members["hospital-a"].logs
    run = json.loads((finished / "record.jsonl").read_text().splitlines()[0])["run"]
    found = {  # Flower prints a few lines of its own before ours begin
        name: [
            json.loads(text)
            for text in (folder / name).read_text().splitlines()
            if name in ("host.log", "join.log") or text.startswith("{")
        ]
        for folder, name in (
            *((host, name) for name in ("host.log", "server.log")),
            *((member, name) for name in ("join.log", "client.log")),
        )
    }
    for name, lines in found.items():
        assert lines, name
        assert all({"run", "round", "client"} <= line.keys() for line in lines), name
    said = [line for line in found["server.log"] if line["logger"] == "fedelta.run"]
    assert {(line["run"], line["round"]) for line in said} >= {(run, 1), (run, 2)}
    trained = [
        (line["run"], line["round"], line["client"])
        for line in found["client.log"]
        if line["message"] == "train: answered"
    ]
    # SuperLink was killed: what it had not handed on by then is answered once more
    rounds = list(dict.fromkeys(trained))
    assert rounds == [(run, 1, "hospital-a"), (run, 2, "hospital-a")]


def test_renewed_certificates_are_taken_at_once(
    finished: Path, federation: Federation
) -> None:
    host = federation.host.settings.host
    places = [("127.0.0.1", host.port), ("127.0.0.1", host.status_port)]
    before = [ssl.get_server_certificate(place) for place in places]
    run("host", "renew", str(federation.host.root))

    def taken() -> bool:
        try:
            now = [ssl.get_server_certificate(place) for place in places]
        except OSError:  # it starts again
            return False
        return not set(now) & set(before)

    wait(taken, "proxy and status service show the new certificate", 60)
    member = federation.members["hospital-a"]

    def ticks() -> bool:
        done = run("join", "check", str(member.root), check=False)
        return "✗" not in done.stdout and "online" in done.stdout

    wait(ticks, "hospital-a is online again", 60)
    assert "hospital-a" in run("host", "status", str(federation.host.root)).stdout
