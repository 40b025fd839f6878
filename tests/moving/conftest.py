"""A data plane that is impatient and takes 5 MiB for much, and the faulty origin it fetches from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from tests.moving.desk import MIB
from tests.moving.origin import FaultyOrigin


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin().running() as it:
        yield it


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    it = DataPlane(4, one_request_bytes=4 * MIB, patience=Patience(stall_seconds=1.0, backoff_seconds=0.01))
    yield it
    it.close()
