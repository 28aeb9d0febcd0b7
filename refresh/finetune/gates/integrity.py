"""Whether the candidate is the one that was made: from these samples, on this base, by its own manifest.

These gates come first and read bytes only. Nothing of a candidate is opened as a model before they have passed, and
nobody may override them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from refresh.engines.adapter import open_adapter
from refresh.engines.model_files import MANIFEST, read_manifest
from refresh.finetune.candidate import ADAPTER_CONFIG, Candidate, CandidateKind, base_fingerprint, open_candidate
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import blocked, whole
from tidegate.contracts import GateVerdict

_CODE = "auto_map"  # names Python files that a loader which trusts remote code would run
_SHORT = 12


def files(hearing: Hearing) -> GateVerdict:
    """Require every file of the manifest, unchanged, and no other: no links, no pickles, no code."""
    return _files("files", hearing)


def unchanged(hearing: Hearing) -> GateVerdict:
    """Require the same once more, after all other gates: what they judged is what is there."""
    return _files("unchanged", hearing)


def _files(gate: str, hearing: Hearing) -> GateVerdict:
    folder, expected = hearing.trial.folder, hearing.trial.expected
    links = [path.name for path in (folder, *sorted(folder.iterdir())) if path.is_symlink()]
    if links:
        return blocked(gate, f"{_listed(links)} is a link: what it leads to may be anything, and may change")
    candidate = open_candidate(folder)
    if expected.fingerprint is not None and candidate.fingerprint != expected.fingerprint:
        return blocked(
            gate,
            f"the candidate is {candidate.fingerprint[:_SHORT]}, and training made {expected.fingerprint[:_SHORT]}",
        )
    running = [name for name in sorted(candidate.manifest.files) if name.endswith(".json") and _has_code(folder / name)]
    if running:
        return blocked(gate, f"{_listed(running)} names code to be run ({_CODE}): a model consists of weights and text")
    return whole(gate, f"all {len(candidate.manifest.files)} files are as the manifest says")


def manifest(hearing: Hearing) -> GateVerdict:
    """Require that the manifest says what the files say themselves."""
    candidate = opened(hearing)
    if candidate.manifest.kind is CandidateKind.LORA:
        return whole("manifest", f"{ADAPTER_CONFIG} is of an adapter of rank {open_adapter(candidate.folder).rank}")
    said, inside = candidate.manifest, read_manifest(candidate.folder)[0]
    pairs = {
        "template": ((said.template_name, said.template_text), (inside.template_name, inside.template_text)),
        "n_retrieved": (said.n_retrieved, inside.n_retrieved),
        "capacity": (said.capacity, inside.capacity),
        "codebook": (said.codebook, inside.codebook_fingerprint),
        "n_clusters": (said.n_clusters, inside.n_clusters),
        "names": (said.names, inside.names_fingerprint),
    }
    lies = [name for name, (outer, inner) in pairs.items() if outer != inner]
    if lies:
        return blocked("manifest", f"the candidate's manifest and {MANIFEST} in it differ in {_listed(lies)}")
    return whole("manifest", f"the candidate's manifest and {MANIFEST} in it say the same")


def base(hearing: Hearing) -> GateVerdict:
    """Require the base that the record names, and that it is the one that would serve with the candidate."""
    trial, candidate = hearing.trial, opened(hearing)
    began, wanted = candidate.manifest.base, trial.expected.base
    if began != wanted:
        return blocked(
            "base", f"training began from {_short(began)}, by its record it was to begin from {_short(wanted)}"
        )
    if wanted is None:
        return whole("base", "training began from nothing, as its record says")
    if trial.base_folder is None:
        return blocked("base", f"training began from {_short(began)}, and no base is there to be held against")
    now = base_fingerprint(trial.base_folder)
    if now != wanted:
        return blocked(
            "base", f"training began from {_short(began)}, and the base is {_short(now)} now: the candidate is stale"
        )
    candidate.require_base(trial.base_folder)
    return whole("base", f"training began from {_short(began)}, which is the base")


def samples(hearing: Hearing) -> GateVerdict:
    """Require the samples of the record, whole and no older than the flag, of this catalogue."""
    trial, candidate = hearing.trial, opened(hearing)
    found, wanted = hearing.samples, trial.expected
    if found.checksum != wanted.samples:
        return blocked(
            "samples", f"the samples are {_short(found.checksum)}, the record names {_short(wanted.samples)}"
        )
    if candidate.manifest.samples != wanted.samples:
        taught = _short(candidate.manifest.samples)
        return blocked(
            "samples", f"the candidate was taught samples {taught}, the record names {_short(wanted.samples)}"
        )
    if found.last_pane != wanted.flag_pane:
        return blocked(
            "samples", f"the samples end with pane {found.last_pane}, the flag's window with pane {wanted.flag_pane}"
        )
    n_known = len(found.names)
    if found.names != tuple(trial.names[:n_known]):
        return blocked("samples", f"the {n_known:,} clusters of the samples are not the first of the catalogue")
    return whole("samples", f"taught {len(found.taught):,} samples of the record ({_short(found.checksum)}), all sound")


def held_out(hearing: Hearing) -> GateVerdict:
    """Require test users of whom nothing was taught, and enough of them."""
    found, bounds = hearing.samples, hearing.trial.bounds
    test = found.test
    for what, part in (("taught", found.taught), ("what training stopped by", found.validation)):
        shared = np.intersect1d(test.users, part.users)
        if shared.size:
            rows = int(np.isin(test.users, shared).sum())
            first = ", ".join(map(str, shared[:3].tolist()))
            return blocked(
                "held_out",
                f"{shared.size:,} of {test.n_users:,} groups of test users are among {what}, with {rows:,} of "
                f"{len(test):,} test rows; first: {first}",
            )
    if len(test) < bounds.min_rows or test.n_users < bounds.min_users:
        return blocked(
            "held_out",
            f"the test set has {len(test):,} rows of {test.n_users:,} groups of users; {bounds.min_rows:,} of "
            f"{bounds.min_users:,} at least tell something",
        )
    return whole("held_out", f"{len(test):,} test rows of {test.n_users:,} groups of users, none of whom was taught")


def opened(hearing: Hearing) -> Candidate:
    """Open the candidate's manifest; raises `EngineError` where a byte is not as it says."""
    return open_candidate(hearing.trial.folder)


def _has_code(path: Path) -> bool:
    said = msgspec.json.decode(path.read_bytes())
    return isinstance(said, dict) and bool(said.get(_CODE))


def _short(fingerprint: str | None) -> str:
    return "nothing" if fingerprint is None else fingerprint[:_SHORT]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
