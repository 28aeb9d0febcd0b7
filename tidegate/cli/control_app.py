"""The Faust app of the controller: agents that turn messages into looks at the store."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import faust
from faust.types import StreamT

from tidegate.cli.roles import Role
from tidegate.cli.stream_settings import kafka_properties
from tidegate.errors import ConfigError

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def build_app(role: Role, look: Callable[[], Awaitable[None]]) -> faust.App:
    """Make the app; it is started and stopped by its caller.

    Parameters
    ----------
    look : called for each drift report and each result
    """
    role.settings.home.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        f"tidegate-control-{role.run_id}",
        datadir=role.settings.home.absolute() / "faust",  # empty: no state is in Faust; it makes the folder anyway
        broker=[f"kafka://{address}" for address in role.brokers.split(",")],
        broker_credentials=_credentials(kafka_properties(role.settings)),
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
    )
    for kind in ("drift", "results"):
        topic = app.topic(role.topics.name(kind), value_type=bytes, value_serializer="raw", key_serializer="raw")

        async def hear(stream: StreamT[bytes]) -> None:
            async for _ in stream:
                await look()

        app.agent(topic, name=f"tidegate.{kind}")(hear)
    return app


def _credentials(properties: dict[str, str]) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Translate librdkafka's security properties into Faust's.

    Raises
    ------
    ConfigError
        If the mechanism is one that Faust's client does not speak.
    """
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return None
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
        if "ssl.certificate.location" in properties:
            context.load_cert_chain(properties["ssl.certificate.location"], properties.get("ssl.key.location"))
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "PLAIN"))
    if mechanism not in _MECHANISMS:
        raise ConfigError(
            f"the controller's client does not speak {mechanism}",
            f"Choose one of {', '.join(_MECHANISMS)} for it",
            place="kafka sasl.mechanism",
        )
    return faust.SASLCredentials(
        username=properties.get("sasl.username"),
        password=properties.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )
