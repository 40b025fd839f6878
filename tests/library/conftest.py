"""An origin for each test, and the read path on two tiers of their own devices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.library.stage import Hub, Library, library
from tests.moving.origin import FaultyOrigin


@pytest.fixture
def hub() -> Iterator[Hub]:
    with FaultyOrigin().running() as http:
        yield Hub(http)


@pytest.fixture
async def lib(tmp_path: Path, hub: Hub) -> AsyncIterator[Library]:
    async with library(tmp_path, hub) as it:
        yield it
