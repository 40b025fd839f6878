"""What Prometheus sees, and what the alerts make of it."""
