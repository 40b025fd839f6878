"""Real parts of the tests: present, or left out with a word about it, or a failure where they must be present."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

LEFT_OUT: Final = "real part left out: "
REQUIRE: Final = "CACHEMGR_REQUIRE_PARTS"


def require(part: str, *programs: str, root: bool = False) -> None:
    """Go on if all `programs` are installed (and we are root, where that is needed).

    Otherwise the test is left out and the end of the run says which part was missing; with
    CACHEMGR_REQUIRE_PARTS=1, as CI sets it, the test fails.
    """
    missing = [program for program in programs if find(program) is None]
    if missing:
        leave_out(f"{part} ({', '.join(missing)} not installed)")
    if root and os.geteuid() != 0:
        leave_out(f"{part} (needs root)")


def leave_out(what: str) -> None:
    """Leave the test out, or fail it where parts are required."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{what}, and {REQUIRE}=1", pytrace=False)
    pytest.skip(LEFT_OUT + what)


def find(program: str) -> str | None:
    """The path of a program; Debian keeps servers in sbin, which is not on everybody's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
