"""What errors say, and with which exit code the command ends."""

from __future__ import annotations

import inspect

import pytest

from tidegate import errors

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.TidegateError)]


def test_an_error_says_where_what_and_how_to_mend_it() -> None:
    error = errors.SourceError("the line has 2 values, the header 3", "Correct the line", place="log.csv:7")
    assert str(error) == "log.csv:7: the line has 2 values, the header 3. Correct the line"
    assert (error.place, error.found, error.mend) == (
        "log.csv:7",
        "the line has 2 values, the header 3",
        "Correct the line",
    )


def test_an_error_without_a_place_starts_with_what_was_found() -> None:
    assert str(errors.EngineError("no weights", "Train a model")) == "no weights. Train a model"


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_only_requests_that_cannot_be_meant_exit_with_2(error: type[errors.TidegateError]) -> None:
    assert error.exit_code == (2 if issubclass(error, errors.RequestError) else 1)
    assert error.__name__.endswith("Error")
    assert isinstance(error("found", "mend"), errors.TidegateError)


def test_every_error_is_drawn_in_the_hierarchy() -> None:
    drawn = errors.__doc__ or ""
    assert {error.__name__ for error in ALL} <= set(drawn.replace("│", " ").split())
