"""Drift reports in, table versions out."""
