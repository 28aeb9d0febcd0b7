"""Opening the place that ``--tables`` names: a local folder, or anything that fsspec reaches."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from refresh.table_bucket import BucketShelf
from refresh.table_store import TableStore
from tidegate.clock import Clock
from tidegate.errors import ConfigError

_URL = re.compile(r"([a-z][a-z0-9+.-]*)(?:::|://)", re.IGNORECASE)
_LOCAL = ("file", "local")


def open_tables(home: Path, url: str | None = None, clock: Clock | None = None) -> TableStore:
    """Open the versions of a run.

    Parameters
    ----------
    home : Path
        Its ``tables`` folder holds the versions unless `url` names another place, and ``table-cache`` copies of those.
    url : str, optional
        A folder, ``file:///…``, or a URL of fsspec such as ``s3://bucket/tables``. Credentials are the driver's
        matter (its environment variables or fsspec's configuration).

    Raises
    ------
    ConfigError
        If the URL is of a kind that is unknown here, or whose driver is not installed.

    Examples
    --------
    >>> open_tables(Path("home")).place
    'home/tables'
    """
    kind = _URL.match(url) if url else None
    if url is None or kind is None:
        return TableStore(Path(url) if url else home / "tables", clock)
    if kind[1].lower() in _LOCAL:
        return TableStore(Path(url.partition("://")[2]), clock)
    import fsspec  # half a tenth of a second that local tables do not need

    try:
        files, base = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"this place cannot be opened ({error})",
            "Install the driver that fsspec asks for, or name a folder or another URL",
            place=f"--tables {kind[1]}://",
        ) from error
    slug = re.sub(r"[^a-z0-9]+", "-", url.lower()).strip("-")[:40]
    cache = home / "table-cache" / f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    return TableStore(BucketShelf(files, base, url, cache), clock)
