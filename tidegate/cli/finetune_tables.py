"""Fine-tunes on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from refresh.finetune.lifecycle import NEEDS_PERSON
from tidegate.cli.table import printable
from tidegate.clock import iso_utc
from tidegate.contracts import FineTune, FineTuneStatus

_TO_DO = {
    FineTuneStatus.FLAGGED: "tidegate finetune run",
    FineTuneStatus.CURATING: "tidegate finetune run goes on where it was ended",
    FineTuneStatus.TRAINING: "tidegate finetune run goes on where it was ended",
    FineTuneStatus.GATED: "tidegate finetune run goes on where it was ended",
    FineTuneStatus.PENDING_REVIEW: "look at it: tidegate finetune show; then approve or reject it",
    FineTuneStatus.APPROVED: "approve it again, if it does not serve soon",
    FineTuneStatus.HALTED: "a gate was not passed: rerun or reject it, or let it proceed",
    FineTuneStatus.FAILED: "mend the cause, then rerun or reject it",
}


def print_fine_tunes(console: Console, records: Sequence[FineTune]) -> None:
    """Write a line a fine-tune."""
    printed = Table("fine-tune", "status", "asked for by", "window end", "since", "why")
    for record in records:
        last = record.steps[-1]
        status = Text(record.status, style="bold" if record.status in NEEDS_PERSON else "")
        name, why = printable(record.fine_tune_id), printable(last.why)
        reason = record.flag.reason.replace("_", " ")
        printed.add_row(name, status, reason, iso_utc(record.flag.window_end_ms), iso_utc(last.at_ms), why)
    console.print(printed)


def print_fine_tune(console: Console, record: FineTune) -> None:
    """Write all that is known of one."""
    console.print(_facts(record))
    if record.gates:
        console.print(_gates(record))
    console.print(_steps(record))
    if record.status in _TO_DO:
        console.print(f"{record.status}: {_TO_DO[record.status]}")


def _facts(record: FineTune) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("fine-tune", printable(record.fine_tune_id))
    facts.add_row("run", printable(record.run_id))
    facts.add_row("status", f"{record.status} (revision {record.revision}, attempt {record.attempt})")
    facts.add_row("asked for by", f"{record.flag.reason.replace('_', ' ')}: {_numbers(record.flag.numbers)}")
    facts.add_row("window end", iso_utc(record.flag.window_end_ms))
    facts.add_row("base weights", record.base_fingerprint or "-")
    facts.add_row("samples", record.sample_checksum or "-")
    facts.add_row("candidate", record.candidate_fingerprint or "-")
    if record.problem is not None:
        facts.add_row("problem", printable(record.problem))
    return facts


def _gates(record: FineTune) -> Table:
    printed = Table("gate", "", "found", "required", "")
    for verdict in record.gates:
        figures = ("-" if value is None else f"{value:,.4g}" for value in (verdict.found, verdict.required))
        passed = "passed" if verdict.is_passed else "FAILED"
        printed.add_row(verdict.gate.replace("_", " "), passed, *figures, printable(verdict.sentence))
    return printed


def _steps(record: FineTune) -> Table:
    printed = Table("when", "step", "to", "by", "why", "numbers")
    for step in record.steps:
        by = printable(step.by) + ("" if step.is_person else " (program)")
        numbers, why = _numbers(step.numbers), printable(step.why)
        printed.add_row(iso_utc(step.at_ms), str(step.action), str(step.to_status), by, why, numbers)
    return printed


def _numbers(numbers: dict[str, float]) -> str:
    return ", ".join(f"{printable(name)} {_number(value)}" for name, value in numbers.items()) or "-"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"
