"""Figures of a fine-tune's training; `monitoring.drawing` has how they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from monitoring.drawing import ALARM, FAINT, SERIES, canvas, legend_above, range_in_words, report_style, svg_of
from tidegate.contracts import FineTuneReport

_SMOOTHED = 10  # steps whose mean is drawn: one batch says little


def loss_svg(report: FineTuneReport) -> str | None:
    """Draw the loss of batches and of the validation users by step; None without a step."""
    if not report.losses:
        return None
    steps = range(1, len(report.losses) + 1)
    means = smoothed(report.losses)
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [
            _line(axes, f"batches, mean of {_SMOOTHED} steps", 0, steps, means),
            _line(axes, "validation users", 1, _steps(report), _losses(report), marker="o"),
            _best(axes, report),
        ]
        axes.set_ylabel("Loss of the answer\n(nats)")
        _finish(figure, axes)
        legend_above(axes, handles)
        words = f"{range_in_words('Batches', means)} {range_in_words('Validation users', _losses(report))}"
        return svg_of(figure, "loss", "Loss by step", words)


def recall_svg(report: FineTuneReport) -> str | None:
    """Draw the validation users' recall by step, and what needs no model; None without a check."""
    if not report.checks:
        return None
    recalls = [check.recall for check in report.checks]
    levels = {"retrieved line": report.line_recall, "most popular": report.popular_recall, "chance": report.chance}
    with report_style():
        figure, (axes,) = canvas(1)
        handles = [_line(axes, "validation users", 0, _steps(report), recalls, marker="o"), _best(axes, report)]
        for i, (label, level) in enumerate(levels.items(), start=1):
            stroke: Any = ("--", ":", "-.")[i - 1]
            handles.append(axes.axhline(level, color=SERIES[i], linestyle=stroke, label=f"{label} (test users)"))
        axes.set_ylabel("Recall of the\nfirst answer")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(bottom=0)
        _finish(figure, axes)
        legend_above(axes, handles)
        words = f"{range_in_words('Recall', recalls)} The best is that of step {report.best_step}."
        return svg_of(figure, "recall", "Held-out recall by step", words)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the mean of each loss and the nine before it.

    Examples
    --------
    >>> smoothed([3.0, 1.0, 2.0])
    [3.0, 2.0, 2.0]
    """
    runs = [losses[max(0, at - _SMOOTHED + 1) : at + 1] for at in range(len(losses))]
    return [sum(run) / len(run) for run in runs]


def _steps(report: FineTuneReport) -> list[int]:
    return [check.step for check in report.checks]


def _losses(report: FineTuneReport) -> list[float]:
    return [check.loss for check in report.checks]


def _line(axes: Axes, label: str, i: int, steps: Sequence[int], values: Sequence[float], marker: str = "") -> Line2D:
    (line,) = axes.plot(steps, values, color=SERIES[i], linestyle=("-", "--")[i], marker=marker, label=label, zorder=3)
    return line


def _best(axes: Axes, report: FineTuneReport) -> Line2D:
    return axes.axvline(report.best_step, color=ALARM, linewidth=1.0, label=f"best: step {report.best_step}")


def _finish(figure: Figure, axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    axes.set_xlabel("Step")
    axes.tick_params(color=FAINT)
    figure.align_ylabels()
