"""Watching a service with Prometheus and Grafana: a target per worker, rules, alerts, and a dashboard."""
