from __future__ import annotations

from pathlib import Path

import pytest

from stream.decoding.columns import DecodeOptions
from stream.sources import open_source
from stream.sources.opening import parse_kafka_url
from tidegate.clock import ManualClock
from tidegate.errors import RequestError

_CLOCK = ManualClock()


def test_an_unknown_suffix_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"\.csv, \.csv\.gz, .*kafka://") as caught:
        open_source(tmp_path / "events.xlsx", DecodeOptions(), _CLOCK)
    assert caught.value.exit_code == 2


def test_a_missing_file_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no such file"):
        open_source(str(tmp_path / "events.parquet"), DecodeOptions(), _CLOCK)


def test_a_file_cannot_be_followed(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be followed"):
        open_source(tmp_path / "events.csv", DecodeOptions(), _CLOCK, follow=True)


@pytest.mark.parametrize("url", ["kafka://", "kafka://host:1", "kafka://host:1/", "kafka:///topic", "kafka://h/a/b"])
def test_a_kafka_address_needs_brokers_and_a_topic(url: str) -> None:
    with pytest.raises(RequestError, match="needs brokers and one topic"):
        parse_kafka_url(url)


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "EVENTS.CSV"
    path.write_text("user,cluster,time\n1,a,1\n")
    assert open_source(path, DecodeOptions(), _CLOCK).identity == str(path)
