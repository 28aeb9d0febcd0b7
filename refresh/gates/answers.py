"""What the engine's own answers show: how many are invalid, how much mass is on labels, how many free ones match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from refresh.gates.bounds import GateBounds
from tidegate.contracts import GateVerdict

_CHANCE = 0.001
"""A share above its bound fails where fewer samples than this of one at the bound would show as much."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows that a refresh asked the engine for.

    Attributes
    ----------
    n_rows : int
    n_invalid : int
    faults : rows that were invalid, by what was wrong with them
    label_mass_mean : float or None      of the answers; None where no answer tells
    """

    n_rows: int
    n_invalid: int
    faults: Mapping[str, int] = field(default_factory=dict)
    label_mass_mean: float | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe of free answers: how many prompts were asked, and how many answers match a cluster's name exactly."""

    n_prompts: int
    n_matches: int


def validity(asked: Asked, bounds: GateBounds) -> GateVerdict:
    """Hold the share of invalid answers against its bound; single ones of few may be chance."""
    if not asked.n_rows:
        return not_applicable("validity", "no row was asked for")
    share, bound = asked.n_invalid / asked.n_rows, bounds.max_invalid_share
    is_passed = not _is_above(asked.n_invalid, asked.n_rows, bound)
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(asked.faults.items(), key=lambda item: (-item[1], item[0])))
    sentence = f"{asked.n_invalid:,} of {asked.n_rows:,} answers are invalid, at most {bound:.1%} may be" + (
        f" ({kinds})" if kinds else ""
    )
    if is_passed and share > bound:
        sentence += "; of so few, that may be chance"
    return GateVerdict(gate="validity", found=share, required=bound, is_passed=is_passed, sentence=sentence)


def label_mass(asked: Asked, bounds: GateBounds) -> GateVerdict:
    """Hold the mean label mass against its bound: a model that would rather say something else knows no answer."""
    found, bound = asked.label_mass_mean, bounds.min_label_mass
    if found is None:
        return not_applicable("label_mass", "no answer says what else the model would have said")
    sentence = f"a free answer would be an allowed one with probability {found:.3f}, at least {bound:.3f} is required"
    return GateVerdict(gate="label_mass", found=found, required=bound, is_passed=found >= bound, sentence=sentence)


def exact_match(probed: Probed | None, bounds: GateBounds) -> GateVerdict:
    """Hold the share of free answers that are a cluster's name against its bound."""
    if probed is None or not probed.n_prompts:
        return not_applicable("exact_match", "the engine writes no text")
    share, bound = probed.n_matches / probed.n_prompts, bounds.min_exact_match
    n_missed = probed.n_prompts - probed.n_matches
    sentence = (
        f"{probed.n_matches:,} of {probed.n_prompts:,} free answers are a cluster's description to the letter, "
        f"at least {bound:.1%} is required"
    )
    return GateVerdict(
        gate="exact_match",
        found=share,
        required=bound,
        is_passed=not _is_above(n_missed, probed.n_prompts, 1.0 - bound),
        sentence=sentence,
    )


def not_applicable(gate: str, why: str) -> GateVerdict:
    """Say that a gate has nothing to judge."""
    return GateVerdict(gate=gate, found=None, required=None, is_passed=True, sentence=f"not applicable: {why}")


def _is_above(n_bad: int, n: int, bound: float) -> bool:
    """Whether a share lies above its bound by more than chance."""
    if n_bad <= bound * n:
        return False
    from scipy.special import bdtrc  # takes a while to import; scipy.stats takes a second, in every process

    return bool(bdtrc(n_bad - 1, n, bound) < _CHANCE)
