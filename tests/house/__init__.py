"""Checks on the house itself: form, arrows, configuration and documents."""
