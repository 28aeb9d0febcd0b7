"""Who is at the keyboard."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """Name of the user, for records of who decided what."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without names
        return f"uid {os.getuid()}"
