"""Alerts held against simulated days: the real pipeline's own metrics, under the real rules."""
