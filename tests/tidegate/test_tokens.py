"""Bearer tokens: what is taken for one, what is accepted, and where none is needed."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import ConfigError
from tidegate.tokens import Tokens, is_loopback, read_tokens, require_tokens_beyond_loopback, tokens_of

OLD, NEW = "a-token-of-last-month", "a-token-of-this-month"


def test_while_tokens_are_exchanged_both_are_accepted_and_then_only_the_new_one() -> None:
    both, after = tokens_of(f"{OLD}\n{NEW}\n", place="file"), tokens_of(NEW, place="file")
    assert both.accepts(f"Bearer {OLD}")
    assert both.accepts(f"bearer  {NEW}")
    assert after.accepts(f"Bearer {NEW}")
    assert not after.accepts(f"Bearer {OLD}")


@given(st.text(max_size=60))
def test_no_other_header_is_accepted(header: str) -> None:
    live = tokens_of(f"{OLD} {NEW}", place="file")
    for forged in (header, f"Bearer {header}", f"Basic {OLD}", f"Bearer{OLD}", f"Bearer {OLD}{header or 'x'}"):
        is_live = forged.partition(" ")[2].strip(" ") in (OLD, NEW) and forged.lower().startswith("bearer ")
        assert live.accepts(forged) == is_live


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", OLD, "Bearer \udcff"])
def test_a_header_without_a_token_is_refused(header: str | None) -> None:
    assert not tokens_of(OLD, place="file").accepts(header)


def test_every_live_token_is_compared_in_constant_time_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    whole = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return whole(left, right)

    live = tokens_of(f"{OLD} {NEW}", place="file")
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for header in (f"Bearer {OLD}", f"Bearer {NEW}", "Bearer x"):
        compared.clear()
        live.accepts(header)
        assert compared == [(32, 32), (32, 32)]


def test_printing_tokens_gives_none_of_them_away() -> None:
    live = tokens_of(OLD, place="file")
    assert OLD not in repr(live)
    assert repr(live) == "Tokens()"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "0 tokens"),
        (" \n,", "0 tokens"),
        (f"{OLD} {NEW} a-third-one-of-them", "3 tokens"),
        ("short", "token 1 has 5 characters where 16"),
        (f"{OLD}, with-ümlaut-in-it-here", "token 2 has characters"),
        ("=leading-equals-sign-", "token 1 has characters"),
    ],
)
def test_what_is_no_token_is_refused_without_being_repeated(text: str, found: str) -> None:
    with pytest.raises(ConfigError, match=f"TIDEGATE_X: {found}") as raised:
        tokens_of(text, place="TIDEGATE_X")
    assert not any(each in str(raised.value) for each in (OLD, NEW, "short", "ümlaut"))


def test_tokens_are_read_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{NEW}\n{OLD}\n", encoding="utf-8")
    in_environment = read_tokens("alert_tokens", {"TIDEGATE_ALERT_TOKENS": OLD})
    in_file = read_tokens("alert_tokens", {"TIDEGATE_ALERT_TOKENS_FILE": str(file)})
    assert in_environment == tokens_of(OLD, place="")
    assert in_file == tokens_of(f"{NEW} {OLD}", place="")
    assert read_tokens("operator_tokens", {"TIDEGATE_ALERT_TOKENS": OLD}) is None


def test_tokens_of_the_process_are_read_where_no_environment_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_ALERT_TOKENS", OLD)
    assert read_tokens("alert_tokens") == tokens_of(OLD, place="")


def test_tokens_that_are_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TIDEGATE_X_FILE is given too"):
        read_tokens("x", {"TIDEGATE_X": OLD, "TIDEGATE_X_FILE": str(tmp_path / "tokens")})


def test_a_token_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TIDEGATE_X_FILE: the tokens cannot be read"):
        read_tokens("x", {"TIDEGATE_X_FILE": str(tmp_path / "none")})


def test_without_a_token_only_loopback_is_listened_on() -> None:
    assert not is_loopback("::")
    assert is_loopback("::1")
    require_tokens_beyond_loopback("127.0.0.1", None, "alert_tokens")
    require_tokens_beyond_loopback("0.0.0.0", Tokens((b"",)), "alert_tokens")
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 is reached by other machines.*TIDEGATE_ALERT_TOKENS_FILE"):
        require_tokens_beyond_loopback("0.0.0.0", None, "alert_tokens")
