"""Every error that Tidegate raises on purpose.

::

    TidegateError                     exit code 1: the work failed
    ├── RequestError                  exit code 2: what was asked for cannot be meant
    │   ├── ConfigError               a setting: unknown key, wrong type, impossible value
    │   ├── ExpressionError           a --positive rule that does not parse
    │   ├── UnknownFineTuneError      there is no fine-tune of that name
    │   └── TransitionError           a fine-tune is not where such a step begins, or the step needs a person
    ├── SourceError                   an input that cannot be read (further)
    │   ├── MissingColumnError        a mapped column is not there
    │   ├── EmptySourceError          no record at all
    │   ├── TruncatedSourceError      the input ends in the middle (the part before it is kept)
    │   ├── BadRecordsError           too many records cannot be counted
    │   ├── BrokerError               Kafka answered with an error, or not at all
    │   └── RegistryError             the schema registry answered with an error, or not at all
    ├── CatalogueError                cluster names or item maps that contradict each other
    ├── StoreError                    the run's store cannot be opened, or a commit was refused
    │   ├── StoreUnavailableError     for now: it is down, locked or full
    │   └── FencedError               another owner has moved the source's position
    ├── OrderError                    an order's rows cannot be kept, or do not belong together
    ├── EngineError                   a model cannot be loaded, or answers out of contract
    │   └── EngineUnavailableError    for now: its server is down, too slow or over a limit
    ├── FineTuneError                 a fine-tune cannot go on
    │   └── ConflictError             somebody else works on it, or changed it meanwhile
    └── TableError                    a table version cannot be read or written
        ├── TableUnavailableError     for now: the place of the tables does not answer
        └── CorruptTableError         its bytes are not what its manifest says

A message says what was found, what was required and what to do; the fields carry the same for programs.
"""

from __future__ import annotations


class TidegateError(Exception):
    """Base of all errors with a message meant for a person."""

    exit_code = 1

    def __init__(self, found: str, mend: str, *, place: str | None = None) -> None:
        """Compose the message.

        Parameters
        ----------
        found : str
            What was found, with what was required instead.
        mend : str
            What the reader can do about it.
        place : str, optional
            Where: ``file:line``, ``topic[partition]@offset``, a key of the configuration.
        """
        self.found = found
        self.mend = mend
        self.place = place
        super().__init__(f"{place}: {found}. {mend}" if place else f"{found}. {mend}")


class RequestError(TidegateError):
    """What was asked for cannot be meant; nothing was started."""

    exit_code = 2


class ConfigError(RequestError):
    """A setting is unknown, of the wrong type or impossible."""


class ExpressionError(RequestError):
    """A ``--positive`` rule does not parse or names what is not there."""


class UnknownFineTuneError(RequestError):
    """There is no fine-tune of that name in the store."""


class TransitionError(RequestError):
    """A fine-tune is not where such a step begins, or the step needs a person with a reason; nothing changed."""


class SourceError(TidegateError):
    """An input cannot be read, or not any further."""


class MissingColumnError(SourceError):
    """A mapped column is not in the input."""


class EmptySourceError(SourceError):
    """The input holds no record at all."""


class TruncatedSourceError(SourceError):
    """The input ends in the middle of a record or stream; what came before it was kept."""


class BadRecordsError(SourceError):
    """More records than are allowed cannot be counted; nothing of the batch was committed."""


class BrokerError(SourceError):
    """Kafka answered with an error, or did not answer."""


class RegistryError(SourceError):
    """The schema registry answered with an error, or did not answer."""


class CatalogueError(TidegateError):
    """Cluster names or item maps are malformed or contradict each other."""


class StoreError(TidegateError):
    """The run's store cannot be opened or refused a commit."""


class StoreUnavailableError(StoreError):
    """The store refuses for now; trying again may help."""


class FencedError(StoreError):
    """Another owner has moved the source's position since it was read."""


class OrderError(TidegateError):
    """An order's rows cannot be kept on the way, or are not those that it was begun with."""


class EngineError(TidegateError):
    """A model cannot be loaded, or its answers are out of contract."""


class EngineUnavailableError(EngineError):
    """The engine's server does not answer for now; trying again may help."""


class FineTuneError(TidegateError):
    """A fine-tune cannot go on."""


class ConflictError(FineTuneError):
    """Somebody else works on the fine-tune, or has changed it since it was read."""


class TableError(TidegateError):
    """A table version cannot be read or written."""


class TableUnavailableError(TableError):
    """The place of the tables does not answer for now; trying again may help."""


class CorruptTableError(TableError):
    """A table's bytes are not what its manifest says."""
