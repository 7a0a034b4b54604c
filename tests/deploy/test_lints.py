"""What cannot run here is read by the tools that would be asked elsewhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import fedelta

ROOT = Path(fedelta.__file__).parent
DEPLOY = ROOT / "deploy"
SIDES = ("host", "join")


def accepts(tool: str, *words: str | Path) -> None:
    """Run a linter that lies beside this Python."""
    done = subprocess.run(
        [Path(sys.executable).with_name(tool), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr


@pytest.mark.peer("check_jsonschema")
@pytest.mark.parametrize("side", SIDES)
def test_hadolint_accepts_the_images(side: str) -> None:
    accepts("hadolint", "--no-color", DEPLOY / f"Dockerfile.{side}")


@pytest.mark.peer("check_jsonschema")
def test_compose_is_what_its_schema_says() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    accepts("check-jsonschema", *schema, DEPLOY / "compose.yaml")


@pytest.mark.peer("kubernetes_validate")
@pytest.mark.parametrize("side", SIDES)
def test_kubernetes_knows_every_field(side: str) -> None:
    accepts("kubernetes-validate", "--strict", DEPLOY / f"kubernetes/{side}.yaml")


@pytest.mark.peer("kubernetes_validate")
def test_a_wrong_field_is_found(tmp_path: Path) -> None:
    text = (DEPLOY / "kubernetes" / "host.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("runAsNonRoot:", "runAsNobody:"))
    with pytest.raises(AssertionError, match="runAsNobody"):
        accepts("kubernetes-validate", "--strict", wrong)


@pytest.mark.parametrize("side", SIDES)
def test_containers_run_the_same_commands(side: str) -> None:
    lines = (DEPLOY / f"Dockerfile.{side}").read_text().splitlines()
    assert f'ENTRYPOINT ["fedelta", "{side}"]' in lines
    assert "USER 10001:10001" in lines
    for container in containers(side):
        verb = container["args"][0]
        assert verb in ("init", "up")
        assert container["args"][1] == f"/var/lib/fedelta/{side}"
        assert "command" not in container
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def containers(side: str) -> list[dict[str, Any]]:
    text = (DEPLOY / "kubernetes" / f"{side}.yaml").read_text()
    found = []
    for manifest in yaml.safe_load_all(text):
        pod = manifest["spec"].get("template", {}).get("spec", {})
        if pod:
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["automountServiceAccountToken"] is False
        found += pod.get("containers", [])
    assert len(found) == 2
    return found


def test_compose_builds_what_is_there() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert (ROOT / service["build"]["dockerfile"]).exists()
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]


def test_prometheus_asks_where_the_host_listens() -> None:
    from fedelta.server.hosts.folders import Inside

    asked = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    ((job,),) = [[*one["static_configs"]] for one in asked["scrape_configs"]]
    inside = Inside()
    assert job["targets"] == [f"{inside.metrics_listen}:{inside.metrics_port}"]
    (rules,) = asked["rule_files"]
    alerts = yaml.safe_load((DEPLOY / "prometheus" / rules).read_text())
    names = [rule["alert"] for one in alerts["groups"] for rule in one["rules"]]
    assert len(names) == len(set(names)) > 3


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "fedelta.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    names = {one["name"] for one in dashboard["templating"]["list"]}
    assert names == {"datasource", "run"}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["targets"]
