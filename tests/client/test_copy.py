"""The client is one file that works wherever it is copied: no package of ours, no third party, Python 3.9 or newer."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cachemgr import client
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer
from tests.client.places import COMMIT, Place, manifest
from tests.client.stand_in import World

REF = Ref.parse("hf://acme/m20@main")
SOURCE = Path(client.__file__)

READER = """
import asyncio, os, sys, threading
sys.path.insert(0, sys.argv[1])
import copied
disk, volume = sys.argv[2:]

with copied.model("hf://acme/m20") as path:
    assert (path, path.tier) == (disk, "disk"), path
assert copied.path("hf://acme/m20", tier="disk") == disk

with copied.model("hf://acme/far", deadline=5) as path:
    assert (path, path.tier) == (volume, "volume"), path

async def read():
    async with copied.async_model("hf://acme/far") as path:
        assert os.fspath(path) == volume == await copied.apath("hf://acme/far")
        await asyncio.sleep(60)

async def leave():
    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0.2)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled(), reading

asyncio.run(leave())
try:
    copied.path("hf://acme/nowhere")
except copied.NotFound as error:
    assert "pull" in error.hint
os.environ["CACHEMGR_SOCKET"] = "/nonexistent/socket"
try:
    copied.path("hf://acme/m20")
except copied.DaemonAway:
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    print("well", [name for name, file in files.items() if "site-packages" in file or "cachemgr" in file])
"""


def interpreters() -> list[str]:
    """The Pythons here, 3.9 to the newest: those on the path that run, and those that pyenv keeps."""
    named = [shutil.which(f"python3.{minor}") for minor in range(9, 16)]
    kept = Path.home().glob(".pyenv/versions/3.*/bin/python3")
    found: dict[str, str] = {}
    for program in [sys.executable, *filter(None, named), *map(str, kept)]:
        ask = [program, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        said = subprocess.run(ask, capture_output=True, text=True, check=False)
        if said.returncode == 0 and tuple(map(int, said.stdout.split("."))) >= (3, 9):
            found.setdefault(said.stdout.strip(), program)
    return sorted(found.values())


def test_its_syntax_is_that_of_python_3_9() -> None:
    ast.parse(SOURCE.read_text(), feature_version=(3, 9))


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(SOURCE.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("python", interpreters())
def test_a_copy_works_alone(python: str, world: World, disk: Place, volume: Place, tmp_path: Path) -> None:
    shutil.copy(SOURCE, tmp_path / "copied.py")
    far = Ref.parse("hf://acme/far")
    directory, distant = disk.seal(REF), volume.lay_out(far)
    world.answers[str(far)] = Answer(
        str(far), manifest(far).id, COMMIT, str(distant), "volume", None, None, None, False
    )
    arguments = [str(tmp_path), str(directory), str(distant)]
    done = subprocess.run(
        [python, "-I", "-S", "-W", "error", "-c", READER, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"CACHEMGR_SOCKET": os.environ["CACHEMGR_SOCKET"]},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well []\n", "")
    assert world.holds == set()
