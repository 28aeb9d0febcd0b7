"""Tables of a study's arms: what each reached and cost, its fine-tunes, and what GPU-seconds are reckoned with."""

from __future__ import annotations

from monitoring.study_of_arms import fine_tunes_in_words, outcome_in_words, seconds_in_words
from monitoring.study_phrases import estimate_in_words
from monitoring.study_table import Table
from monitoring.wording import Summary, day, decimal, whole

_GPU = {
    "parameters": "weights of the decoder",
    "peak_tflops": "peak of the GPU, TFLOP/s",
    "inference_utilisation": "share of the peak that inference reaches",
    "training_utilisation": "share of the peak that training reaches",
    "prompt_tokens": "tokens of a prompt",
    "prompt_tokens_of_engine": "tokens of a prompt of the studied engine",
    "rows_per_second": "measured rows a second",
    "train_tokens_per_second": "measured trained tokens a second",
}


def arm_tables(study: Summary) -> list[Table]:
    """All tables of the section."""
    found = study.get("arms")
    return [] if found is None else [reached(found), cost(found), _fine_tunes(found), _assumptions(found)]


def reached(found: Summary) -> Table:
    """List what each arm hit, and what more or less than the subject."""
    subject = found["subject"]
    return Table(
        f"What arms reached. Refreshes on a calendar are every {found['refreshed_every']}, fine-tunes every "
        f"{found['fine_tune_every']}. Differences are to {subject}, ± half of the 95 % interval over panes.",
        ["Arm", "Next-hit rate", f"Less {subject}", "Sequence-hit rate", "Hit information (bits)", f"Less {subject}",
         "Coverage"],
        [
            [name, decimal(arm["hit_rate_next"], 4), _less(arm, "hit_rate_next", 4),
             decimal(arm["hit_rate_sequence"], 4), decimal(arm["hit_information_bits"]),
             _less(arm, "hit_information_bits", 3), decimal(arm["coverage"])]
            for name, arm in found["arms"].items()
        ],
    )  # fmt: skip


def cost(found: Summary) -> Table:
    """List what each arm took: calls, fine-tunes, and both as time of a GPU."""
    return Table(
        "What arms took. Fine-tunes are those taken on, of those that came due after the start; GPU-seconds are after "
        "the start (the first table and the first fine-tune), which stands beside them.",
        ["Arm", "First calls", "Later calls", "Fine-tunes", "Prompt tokens", "Trained tokens", "GPU-s, inference",
         "GPU-s, training", "GPU-s", "GPU-s of the start"],
        [
            [name, whole(arm["first_table_calls"]), whole(arm["incremental_calls"]), fine_tunes_in_words(arm),
             whole(arm["prompt_tokens"]), whole(arm["trained_tokens"]),
             *(seconds_in_words(arm["gpu_seconds"]["later"][kind]) for kind in ("inference", "training", "total")),
             seconds_in_words(arm["gpu_seconds"]["first"]["total"])]
            for name, arm in found["arms"].items()
        ],
    )  # fmt: skip


def _less(arm: Summary, figure: str, places: int) -> str:
    less = arm["less_subject"]
    return estimate_in_words(less[figure] if less else None, places, is_signed=True)


def _fine_tunes(found: Summary) -> Table:
    return Table(
        "Fine-tunes. Recall is of held-out users, asked as the arm asks: of the candidate, of the weights before, and "
        "had the retrieved line been the answer.",
        ["Arm", "Due at", "Why", "Outcome", "Samples", "Steps", "Recall", "Before", "Line", "GPU-s"],
        [
            [name, day(each["pane_end"]), str(each["why"]).replace("_", " "), outcome_in_words(each),
             whole(each["samples"]), whole(each["steps"]), decimal(each["recall"]), decimal(each["recall_before"]),
             decimal(each["recall_of_line"]), seconds_in_words(each["gpu_seconds"])]
            for name, arm in found["arms"].items()
            for each in arm["fine_tunes"]
        ],
        n_names=4,
    )  # fmt: skip


def _assumptions(found: Summary) -> Table:
    return Table(
        "What GPU-seconds are reckoned with.",
        ["", "Value"],
        [[label, f"{found['gpu'][name]:g}"] for name, label in _GPU.items() if found["gpu"][name] is not None],
    )
