"""Alertmanager's webhook: deliveries in, episodes of alerts out, each kept by whoever runs the service."""
