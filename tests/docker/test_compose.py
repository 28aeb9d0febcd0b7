"""Images and compose file: what can be said of them without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.monitoring.documented import ROOT
from tests.stack.composed import DOCKER, roles, services, settled
from tidegate.cli.main import cli
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings

DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
PROGRAMS = Path(sys.executable).parent
ALL, ROLES = services(), roles()


def parents() -> dict[str, str]:
    """What each stage of the Dockerfile is made from."""
    return {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile():
    assert output_of(PROGRAMS / "hadolint", DOCKER / "Dockerfile") == ""


def test_the_compose_file_is_valid():
    checker = [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    assert output_of(*checker, DOCKER / "compose.yaml") == ""


def test_every_role_has_an_image_and_every_image_that_runs_one_a_service():
    targets = {name for name, service in ALL.items() if "build" in service}
    commands = set(re.findall(r'^CMD \["([a-z]+)"', DOCKERFILE, re.MULTILINE))
    assert {ROLES[name].role for name in targets} == commands
    for name in targets:
        build = ALL[name]["build"]
        assert build["target"] == ROLES[name].role
        assert build["target"] in parents()
        assert (DOCKER / build["context"] / build["dockerfile"]).samefile(DOCKER / "Dockerfile")


def test_images_run_as_a_user_of_their_own_and_only_engines_hold_a_model():
    made_from = parents()
    for name in {service["build"]["target"] for service in ALL.values() if "build" in service}:
        line = [name]
        while line[-1] in made_from:
            line.append(made_from[line[-1]])
        assert "runtime" in line, "it has another user than runtime's"
        assert ("model" in line) == (name == "refresher")
    assert DOCKERFILE.index("USER 10001:10001") > DOCKERFILE.index("AS runtime")
    assert "USER" not in DOCKERFILE.split("USER 10001:10001")[1]


@pytest.mark.parametrize("name", [name for name in ALL if name not in {"kafka", "topics", "postgres", "secrets"}])
def test_a_service_may_do_no_more_than_it_has_to(name: str):
    service = ALL[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_are_named_without_a_host_and_with_a_version():
    for name, service in ALL.items():
        image, _, tag = service["image"].partition(":")
        assert tag and tag != "latest", name
        assert image.count("/") <= 1 and "." not in image, name
    assert re.search(r"^ARG PYTHON=3\.11-slim-\w+$", DOCKERFILE, re.MULTILINE)


def test_ports_are_published_on_loopback_only():
    published = [port for service in ALL.values() for port in service.get("ports", [])]
    assert len(published) >= 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_everything_that_is_mounted_is_there_or_a_volume():
    for name, service in ALL.items():
        for mount in service.get("volumes", []):
            place = mount.split(":")[0]
            assert (DOCKER / place).exists() if place.startswith(".") else place in COMPOSE["volumes"], (name, place)
    assert (DOCKER / COMPOSE["configs"]["tidegate"]["file"]).is_file()


def test_no_secret_stands_in_a_file_or_an_environment():
    for name, service in ALL.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|STORE|SECRET", variable):
                assert variable.endswith("FILE") and value.startswith("/run/secrets/"), name
    ignored = output_of("git", "-C", ROOT, "ls-files", "--error-unmatch", "docker/secrets")
    assert "did not match" in ignored


def test_secrets_are_random_and_stay_when_they_are_made_again(tmp_path: Path):
    make = ["sh", DOCKER / "make-secrets", tmp_path / "one"]
    assert output_of(*make) == ""
    first = {path.name: path.read_text() for path in (tmp_path / "one").iterdir()}
    assert output_of(*make) == ""
    assert {path.name: path.read_text() for path in (tmp_path / "one").iterdir()} == first
    assert output_of("sh", DOCKER / "make-secrets", tmp_path / "two") == ""
    assert (tmp_path / "two" / "alert_token").read_text() != first["alert_token"]
    named = {path for text in settled_files() for path in re.findall(r"/run/secrets/(\w+)", text)}
    assert named == first.keys()
    assert first["store"] == f"postgresql://tidegate:{first['postgres_password']}@postgres/tidegate"


def settled_files() -> list[str]:
    files = ("compose.yaml", "tidegate.toml", "prometheus/prometheus.yml", "alertmanager/alertmanager.yml")
    return [(DOCKER / file).read_text(encoding="utf-8") for file in files]


@pytest.mark.parametrize("name", ROLES)
def test_every_command_has_only_options_that_it_knows(name: str):
    first, *rest = ROLES[name].command
    context = click.Context(cli)
    command = cli.get_command(context, first)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_settings_of_the_demonstration_are_valid(monkeypatch: pytest.MonkeyPatch):
    settings = load_settings({}, DOCKER / "tidegate.toml", GroupSettings)
    assert settings.source == "kafka://kafka:9092/watches"
    producer = ROLES["producer"].command
    assert producer[producer.index("--to") + 1] == settings.source


def test_prometheus_scrapes_every_role_and_knows_its_run():
    jobs = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target: job for job in jobs for one in job["static_configs"] for target in one["targets"]}
    scraped = {name for name in ROLES if ROLES[name].role not in {"synth", "console"}}
    assert {target.partition(":")[0] for target in targets if target.endswith(":9100")} == scraped
    for target, job in targets.items():
        if target.endswith(":9100"):
            assert job["static_configs"][0]["labels"] == {"run": "demo"}
            assert job["job_name"] == f"tidegate-{ROLES[target.partition(':')[0]].role}"


def settle(folder: Path, source: Path) -> Path:
    places = {"/run/secrets": str(folder), "/etc/prometheus/rules": str(ROOT / "monitoring" / "alerts")}
    path = folder / source.name
    path.write_text(settled(source.read_text(encoding="utf-8"), places), encoding="utf-8")
    return path


def test_prometheus_and_alertmanager_take_their_files(prometheus_programs: Path, tmp_path: Path):
    assert output_of("sh", DOCKER / "make-secrets", tmp_path) == ""
    prometheus = settle(tmp_path, DOCKER / "prometheus" / "prometheus.yml")
    assert output_of(prometheus_programs / "promtool", "check", "config", prometheus) == ""
    alertmanager = settle(tmp_path, DOCKER / "alertmanager" / "alertmanager.yml")
    assert output_of(prometheus_programs / "amtool", "check-config", alertmanager) == ""


def test_alertmanager_brings_alerts_to_where_they_are_taken():
    text = (DOCKER / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    assert "http://alerts:9466/alerts" in text
    assert ROLES["alerts"].environment["TIDEGATE_ALERT_TOKENS_FILE"] == "/run/secrets/alert_token"


def test_grafana_finds_its_data_source_and_dashboards():
    provisioning = DOCKER / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "tidegate.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards" / "tidegate.yaml").read_text(encoding="utf-8"))
    mounts = dict(mount.split(":")[:2][::-1] for mount in ALL["grafana"]["volumes"] if mount.startswith("."))
    folder: Any = mounts[provider["providers"][0]["options"]["path"]]
    assert (DOCKER / folder / "tidegate.json").is_file()
