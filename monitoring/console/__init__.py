"""The console: web pages for people who have to know whether the table is fresh, and may have to act."""

from monitoring.console.app import build_console
from monitoring.console.pages import ConsoleOptions

__all__ = ["ConsoleOptions", "build_console"]
