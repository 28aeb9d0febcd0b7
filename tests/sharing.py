"""How processes share a run of tests; loaded only where they do."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

from tests.scopes import scope_of


class ByComponent(LoadScopeScheduling):
    """Gives each process whole scopes, as `tests.scopes` names them."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid.partition("::")[0])
