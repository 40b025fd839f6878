"""Real parts of the tests: present, or left out with a word about it, or a failure where they must be present."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

LEFT_OUT: Final = "real part left out: "
REQUIRE: Final = "CACHEMGR_REQUIRE_PARTS"


def require(part: str, present: bool, missing: str) -> None:
    """Go on if a part is present.

    Otherwise the test is left out, and the end of the run says which part that was and what is `missing`; with
    CACHEMGR_REQUIRE_PARTS=1, as CI sets it, the test fails.
    """
    if present:
        return
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{part}: {missing}, and {REQUIRE}=1", pytrace=False)
    pytest.skip(f"{LEFT_OUT}{part} ({missing})")


def require_program(part: str, program: str) -> str:
    """The path of a program that a part needs; without it the same as `require`."""
    path = find(program)
    require(part, path is not None, f"{program} is not installed")
    return str(path)


def find(program: str) -> str | None:
    """The path of a program; Debian keeps servers in sbin, which is not on everybody's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
