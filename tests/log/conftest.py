"""Each test leaves the root logger as it found it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from cachemgr import log as structured


def is_ours(handler: logging.Handler) -> bool:
    return type(handler).__module__ == structured.__name__


@pytest.fixture(autouse=True)
def _quiet_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if not is_ours(handler)]
    root.setLevel(level)
