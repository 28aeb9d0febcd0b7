"""Detectors that watch the course of drift over windows, behind one contract."""
