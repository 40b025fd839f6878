"""The structured log and what it must never hold."""
