"""Metrics, exposition and reports for the people who run it."""
