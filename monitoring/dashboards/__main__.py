"""``python -m monitoring.dashboards``: write every dashboard's JSON; with ``--check`` only say what is not current."""

from __future__ import annotations

import sys
from pathlib import Path

from monitoring.dashboards.board import Board, render
from monitoring.dashboards.decision_roles import CONTROLLER, REFRESHER
from monitoring.dashboards.service_roles import OPERATIONS, SERVICE
from monitoring.dashboards.story import STORY
from monitoring.dashboards.stream_roles import EVALUATOR, WORKER
from tidegate.files import write_atomically

BOARDS: tuple[Board, ...] = (STORY, WORKER, EVALUATOR, CONTROLLER, REFRESHER, SERVICE, OPERATIONS)
FOLDER = Path(__file__).resolve().parent / "json"


def main(folder: Path, *, is_check: bool) -> int:
    """Write what differs; returns 1 where it differs and nothing is to be written."""
    folder.mkdir(exist_ok=True)
    n_stale = 0
    for board in BOARDS:
        path, text = folder / f"{board.uid}.json", render(board)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        n_stale += 1
        print(f"{path.name}: {'is not current' if is_check else 'written'}")
        if not is_check:
            write_atomically(path, text.encode())
    return int(is_check and n_stale > 0)


if __name__ == "__main__":
    sys.exit(main(FOLDER, is_check="--check" in sys.argv[1:]))
