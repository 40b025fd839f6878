"""Configuration: where values come from and what is said about those that do not fit."""
