"""Grafana dashboards, made by code; the JSON files in ``json/`` are what it makes (``make dashboards``)."""
