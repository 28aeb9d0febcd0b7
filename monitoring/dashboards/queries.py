"""PromQL of the dashboards: selectors that follow the variables, and the few shapes of query that panels need.

Every selector names the variables ``run`` and ``instance``. Both stand for everything until somebody chooses, also
where Prometheus sets no label ``run``.
"""

from __future__ import annotations

CHOSEN = 'run=~"$run", instance=~"$instance"'
"""What is chosen at the top of the dashboard."""
_RANGE = "[$__rate_interval]"


def series(name: str, matchers: str = "") -> str:
    """Select a metric of the chosen processes.

    Examples
    --------
    >>> series("tidegate_hit_rate", 'kind="next"')
    'tidegate_hit_rate{run=~"$run", instance=~"$instance", kind="next"}'
    """
    return f"{name}{{{CHOSEN}{f', {matchers}' if matchers else ''}}}"


def by_run(name: str, matchers: str = "", how: str = "max") -> str:
    """One value a run of a gauge that several processes may show.

    Examples
    --------
    >>> by_run("tidegate_coverage")
    'max by (run) (tidegate_coverage{run=~"$run", instance=~"$instance"})'
    """
    return f"{how} by (run) ({series(name, matchers)})"


def recorded(name: str) -> str:
    """Select what a recording rule gives of the chosen runs: it knows no instances.

    Examples
    --------
    >>> recorded("run:tidegate_events:rate5m")
    'max by (run) (run:tidegate_events:rate5m{run=~"$run"})'
    """
    return f'max by (run) ({name}{{run=~"$run"}})'


def per_second(name: str, by: str = "run", matchers: str = "") -> str:
    """Rate of a counter, added up over processes.

    Examples
    --------
    >>> per_second("tidegate_events_total", "outcome")
    'sum by (outcome) (rate(tidegate_events_total{run=~"$run", instance=~"$instance"}[$__rate_interval]))'
    """
    return f"sum by ({by}) (rate({series(name, matchers)}{_RANGE}))"


def over_range(name: str, by: str = "run", matchers: str = "") -> str:
    """Increase of a counter over the time that the dashboard shows, added up over processes.

    Examples
    --------
    >>> over_range("tidegate_llm_calls_total", "run")
    'sum by (run) (increase(tidegate_llm_calls_total{run=~"$run", instance=~"$instance"}[$__range]))'
    """
    return f"sum by ({by}) (increase({series(name, matchers)}[$__range]))"


def quantile(share: float, name: str, by: str = "", matchers: str = "") -> str:
    """Quantile of a histogram over all chosen processes.

    Parameters
    ----------
    share : float    from 0 to 1
    by : str         further labels to keep

    Examples
    --------
    >>> quantile(0.99, "tidegate_lookup_duration_seconds")
    'histogram_quantile(0.99, sum by (le) \
(rate(tidegate_lookup_duration_seconds_bucket{run=~"$run", instance=~"$instance"}[$__rate_interval])))'
    """
    kept = f"le, {by}" if by else "le"
    buckets = f"rate({series(f'{name}_bucket', matchers)}{_RANGE})"
    return f"histogram_quantile({share:g}, sum by ({kept}) ({buckets}))"


def share(part: str, whole: str) -> str:
    """Quotient of two rates; no value while nothing happens.

    Examples
    --------
    >>> share("sum(rate(a[1m]))", "sum(rate(b[1m]))")
    '(sum(rate(a[1m]))) / (sum(rate(b[1m])) > 0)'
    """
    return f"({part}) / ({whole} > 0)"
