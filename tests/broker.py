"""A real Apache Kafka broker on loopback, for tests and benchmarks."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

START_SECONDS = 60.0
FORMAT_SECONDS = 60.0
STOP_SECONDS = 20.0
ANSWER_SECONDS = 30.0
_CLUSTER_ID = base64.urlsafe_b64encode(b"tidegate-testing").decode().rstrip("=")
_LOG_TAIL_LINES = 30
_QUEUE_LIMIT = 50_000  # messages; half of librdkafka's default

# Serial collection and the first compiler tier halve the start; the heap is small because CI machines are. Kafka's
# hundreds of lines of information would push the reason of a failure out of the log's tail.
_JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

# Event times of synthetic logs lie years back and ahead: nothing is deleted or refused for its age.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # After a crash, the controller lets the broker back in once its old session has run out (9 s by default).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",  # tests that lose a member on purpose need not wait the usual 6 s
    "log.retention.ms": "-1",
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
    "log.cleaner.dedupe.buffer.size": str(4 * 2**20),
    "num.network.threads": "2",
    "num.io.threads": "2",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}


class BrokerStartError(Exception):
    """The broker did not come up; the message ends with the tail of its log."""


class KafkaBroker:
    """One combined broker and controller (KRaft), whose data outlives `stop` and is there again after `start`.

    Parameters
    ----------
    libs : Path          Kafka's jars
    folder : Path        data, configuration and ``broker.log``
    properties           server properties on top of those for tests
    jvm_options          in place of those for tests

    Attributes
    ----------
    bootstrap : str      ``host:port``, the same after a restart
    """

    def __init__(
        self,
        libs: Path,
        folder: Path,
        *,
        properties: Mapping[str, str] | None = None,
        jvm_options: tuple[str, ...] = _JVM_OPTIONS,
    ) -> None:
        self._java = ["java", *jvm_options, "-cp", str(libs / "*")]
        self._folder = folder
        self._log_path = folder / "broker.log"
        self._config_path = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        broker_port, controller_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{broker_port}"
        settings = _PROPERTIES | _addresses(self.bootstrap, f"127.0.0.1:{controller_port}")
        settings |= {"log.dirs": str(folder / "data")} | dict(properties or {})
        self._config_path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start and wait until clients are answered.

        Raises
        ------
        BrokerStartError
            If it ends, or does not answer within a minute.
        """
        if not (self._folder / "data").exists():
            self._format()
        with self._log_path.open("ab") as log:
            command = [*self._java, "kafka.Kafka", str(self._config_path)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        try:
            self._wait_until_it_answers(time.monotonic() + START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _format(self) -> None:
        command = [*self._java, "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", _CLUSTER_ID, "--config", str(self._config_path)]
        with self._log_path.open("ab") as log:
            done = subprocess.run(command, stdout=log, stderr=log, timeout=FORMAT_SECONDS, check=False)
        if done.returncode:
            raise BrokerStartError(f"formatting the storage ended with {done.returncode}\n{self.log_tail()}")

    def _wait_until_it_answers(self, deadline: float) -> None:
        admin = self.admin()
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise BrokerStartError(f"the broker ended before it answered\n{self.log_tail()}")
            try:
                if admin.list_topics(timeout=1.0).brokers:
                    return
            except KafkaException:
                continue
        raise BrokerStartError(f"no answer on {self.bootstrap} within {START_SECONDS:.0f} s\n{self.log_tail()}")

    def stop(self) -> None:
        """Ask it to end, then make it; does nothing where it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it without a chance to tidy up, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log_tail(self) -> str:
        """Last lines of the broker's log."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    def admin(self) -> AdminClient:
        """A client for administration, silent while the broker is away."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until it is there.

        Raises
        ------
        KafkaException
            If the broker refuses, for example because it exists.
        """
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin = self.admin()  # a name, because a client that is collected takes its answers with it
        admin.create_topics([topic])[name].result(ANSWER_SECONDS)

    def produce(
        self, topic: str, messages: Iterable[tuple[bytes | None, bytes]], *, partition: int | None = None
    ) -> int:
        """Write (key, value) messages, and return how many once all are acknowledged.

        Parameters
        ----------
        partition : int, optional
            Where all go; without it the key decides.

        Raises
        ------
        KafkaException
            The first failed delivery.
        """
        refused: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                refused.append(error)

        # Without idempotence a batch that is sent again overtakes the next one, and the log's order is lost.
        settings = {"enable.idempotence": True, "linger.ms": 5, "acks": "all", "log_level": 0}
        producer = Producer({"bootstrap.servers": self.bootstrap, **settings})
        place = -1 if partition is None else partition  # -1: librdkafka's partitioner decides by the key
        n_messages = 0
        for key, value in messages:
            while len(producer) >= _QUEUE_LIMIT:  # let deliveries drain before the client's own limit refuses
                producer.poll(1.0)
            producer.produce(topic, value, key, place, on_delivery=on_delivery)
            producer.poll(0)
            n_messages += 1
        n_left = producer.flush(ANSWER_SECONDS)
        if refused or n_left:
            raise KafkaException(refused[0] if refused else KafkaError(KafkaError._TIMED_OUT))
        return n_messages


def _addresses(broker: str, controller: str) -> dict[str, str]:
    return {
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.quorum.voters": f"1@{controller}",
    }


def free_ports(n: int) -> list[int]:
    """Loopback ports that are free now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
