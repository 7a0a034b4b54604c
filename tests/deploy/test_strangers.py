"""The anonymous peer: everything that somebody without an admitted key may try."""

import base64
import datetime as dt
import ssl
from pathlib import Path

import httpx
import pytest

from fedelta.client.joins import keys
from fedelta.client.joins.runtimes import state_of
from tests.deploy.conftest import Federation
from tests.server.hosts.federations import run, wait

pytestmark = [pytest.mark.slow, pytest.mark.needs_nginx]


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
