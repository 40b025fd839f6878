"""Concurrency building blocks that know nothing of caching: a thread pool that nobody walks away from, one flight
for many callers, and the one retry layer."""
