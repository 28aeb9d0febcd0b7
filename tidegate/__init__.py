"""The hall: words, wire records, errors and configuration that every room shares."""

__version__ = "0.1.0"
