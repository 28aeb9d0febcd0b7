"""The stack as plain processes: the compose file's commands, on a real broker, store, Prometheus and Alertmanager."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.database import Database
from stream.ledger import Ledger
from stream.run_reader import run_id_of
from tests.broker import KafkaBroker, free_ports
from tests.postgres import PostgresServer
from tests.stack.composed import DOCKER, ROOT, Service, roles, settled
from tests.stack.processes import Processes
from tests.stack.prometheus import Prometheus
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings

START_SECONDS = 300.0
PRODUCER = "producer"
_PROGRAM = (sys.executable, "-c", "from tidegate.cli.main import main; main()")
_ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_METRICS, _LOOK_UPS, _ALERTS, _CONSOLE = 9100, 9464, 9466, 9465
_OWN_PORTS = {"serve": _LOOK_UPS, "alerts": _ALERTS, "console": _CONSOLE}


@dataclass(frozen=True)
class Pace:
    """What is played, and how fast.

    Attributes
    ----------
    world : str
    days, clusters : int
    sessions : int           a day
    day_seconds : float      that a day of event time takes
    engine : str
    """

    world: str = "abrupt"
    days: int = 14
    clusters: int = 24
    sessions: int = 2_600
    day_seconds: float = 4.0
    engine: str = "frequency"

    @property
    def flags(self) -> list[str]:
        """What the producer is told, in place of what the compose file says."""
        sizes = {"days": self.days, "clusters": self.clusters, "sessions-per-day": self.sessions}
        numbers = [word for name, n in sizes.items() for word in (f"--{name}", str(n))]
        return ["--world", self.world, *numbers, "--day-seconds", str(self.day_seconds)]


@dataclass
class Scene:
    """A running stack.

    Attributes
    ----------
    folder : Path                everything that it writes
    ports                        address on this machine of each ``SERVICE:PORT`` of the compose file
    """

    folder: Path
    pace: Pace
    ports: Mapping[str, str]
    processes: Processes
    prometheus: Prometheus
    ledger: Ledger

    @property
    def truth(self) -> Path:
        """What the producer has planted."""
        return self.folder / "truth.json"

    def url(self, service: str, port: int) -> str:
        """Where a service of the compose file answers here."""
        return f"http://{self.ports[f'{service}:{port}']}"

    @property
    def look_ups(self) -> str:
        """Where the table is looked up."""
        return self.url("serve", _LOOK_UPS)

    @property
    def console(self) -> str:
        """Where people look."""
        return self.url("console", _CONSOLE)


@contextmanager
def playing(kafka: KafkaBroker, postgres: PostgresServer, programs: Path, folder: Path, pace: Pace) -> Iterator[Scene]:
    """Start everything, and end it with the block.

    Parameters
    ----------
    programs : folder of ``prometheus`` and ``alertmanager``

    Raises
    ------
    StackError
        If something does not start.
    """
    services = roles()
    ports = _ports(services)
    topic = folder.name
    places = _places(folder, kafka, topic, ports)
    kafka.create_topic(topic, partitions=3)
    kafka.create_topic(f"{topic}.dead")
    _make_secrets(folder, postgres, topic)
    _settle_files(folder, places, pace)
    with Processes(folder / "logs") as processes:
        _start_observers(processes, programs, folder, ports)
        for service in services.values():
            if service.name != PRODUCER:
                processes.start(service.name, *_command(service, places, ports, folder))
        for service in services.values():
            if service.name != PRODUCER:
                port = _CONSOLE if service.role == "console" else _METRICS
                processes.wait_for(service.name, f"http://{ports[f'{service.name}:{port}']}/healthz", START_SECONDS)
        producer, environment = _command(services[PRODUCER], places, ports, folder)
        processes.start(PRODUCER, [*producer, *pace.flags, "--truth", str(folder / "truth.json")], environment)
        with (
            closing(_ledger(folder)) as ledger,
            closing(Prometheus(f"http://{ports['prometheus:9090']}")) as prometheus,
        ):
            yield Scene(folder, pace, ports, processes, prometheus, ledger)


def _ports(services: Mapping[str, Service]) -> dict[str, str]:
    """Give every port that somebody is asked on a free one of this machine."""
    named = [f"{name}:{_METRICS}" for name in services]
    named += [f"serve:{_LOOK_UPS}", f"console:{_CONSOLE}", f"alerts:{_ALERTS}", "prometheus:9090", "alertmanager:9093"]
    return {name: f"127.0.0.1:{port}" for name, port in zip(named, free_ports(len(named)), strict=True)}


def _places(folder: Path, kafka: KafkaBroker, topic: str, ports: Mapping[str, str]) -> dict[str, str]:
    return {
        **ports,
        "kafka:9092/watches": f"{kafka.bootstrap}/{topic}",
        "watches.dead": f"{topic}.dead",
        "/etc/tidegate": str(folder),
        "/run/secrets": str(folder / "secrets"),
        "/etc/prometheus/rules": str(folder / "rules"),
        "localhost:9090": ports["prometheus:9090"],
        "0.0.0.0": "127.0.0.1",
    }


def _make_secrets(folder: Path, postgres: PostgresServer, database: str) -> None:
    postgres.create_database(database)
    environment = {**os.environ, "STORE_PLACE": f"{postgres.address}/{database}"}
    subprocess.run(["sh", DOCKER / "make-secrets", folder / "secrets"], env=environment, check=True, timeout=30)


def _settle_files(folder: Path, places: Mapping[str, str], pace: Pace) -> None:
    sources = ("tidegate.toml", "prometheus/prometheus.yml", "alertmanager/alertmanager.yml")
    for source in map(DOCKER.joinpath, sources):
        text = settled(source.read_text(encoding="utf-8"), places)
        if source.suffix == ".toml":
            text = text.replace('engine = "embedded"', f'engine = "{pace.engine}"')
            text += f'topics = "{folder.name}"\n'
        if source.name == "prometheus.yml":
            text = text.replace("_interval: 5s", "_interval: 1s")
        (folder / source.name).write_text(text, encoding="utf-8")
    (folder / "rules").mkdir()
    for rules in (ROOT / "monitoring" / "alerts").glob("*.yml"):  # looked at each second: days are short here
        text = rules.read_text(encoding="utf-8").replace("interval: 1m", "interval: 1s")
        (folder / "rules" / rules.name).write_text(text, encoding="utf-8")


def _start_observers(processes: Processes, programs: Path, folder: Path, ports: Mapping[str, str]) -> None:
    prometheus, alertmanager = ports["prometheus:9090"], ports["alertmanager:9093"]
    processes.start(
        "prometheus",
        [
            str(programs / "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={prometheus}",
        ],
    )
    processes.start(
        "alertmanager",
        [
            str(programs / "alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",
        ],
    )
    processes.wait_for("prometheus", f"http://{prometheus}/-/ready", START_SECONDS)
    processes.wait_for("alertmanager", f"http://{alertmanager}/-/ready", START_SECONDS)


def _command(
    service: Service, places: Mapping[str, str], ports: Mapping[str, str], folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a role here."""
    words = [settled(word, places) for word in service.command]
    words = [word for word in words if not word.startswith("--expose")]
    if service.role in _OWN_PORTS:
        words += ["--port", ports[f"{service.name}:{_OWN_PORTS[service.role]}"].rpartition(":")[2]]
    environment = {name: settled(value, places) for name, value in service.environment.items()}
    environment.pop("TIDEGATE_EXPOSE_METRICS", None)
    environment |= {"TIDEGATE_HOME": str(folder / "home"), **_ONE_THREAD}
    if service.name != PRODUCER and service.role != "console":
        environment["TIDEGATE_METRICS_PORT"] = ports[f"{service.name}:{_METRICS}"].rpartition(":")[2]
    return [*_PROGRAM, "--debug", *words], environment


def _ledger(folder: Path) -> Ledger:
    """Open what the roles have written down."""
    store = (folder / "secrets" / "store").read_text()
    flags = {"store": store, "home": folder / "home"}
    settings = load_settings(flags, folder / "tidegate.toml", GroupSettings)
    return Ledger(Database(store), run_id_of(settings.source, settings.identity()))
