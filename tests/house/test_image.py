"""The Dockerfile's steps, replayed in a clean directory: what they need is in them and in the files they copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    text: str


def steps() -> list[Step]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Step(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def first_stage() -> list[Step]:
    found = steps()
    second = [number for number, step in enumerate(found) if step.word == "FROM"][1]
    return found[:second]


def test_base_images_are_the_same_and_named_to_the_release() -> None:
    images = {step.text.split()[0] for step in steps() if step.word == "FROM"}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.1[1-4]-slim-[a-z]+(@sha256:[0-9a-f]{64})?", images.pop())


def test_what_is_copied_passes_the_dockerignore() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for step in steps():
        if step.word == "COPY" and not step.text.startswith("--from"):
            copied |= set(step.text.split()[:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_nothing_is_installed_without_a_hash() -> None:
    for step in steps():
        for command in re.findall(r"pip (?:install|wheel) [^&]*", step.text):
            assert "--require-hashes" in command or "--no-deps" in command, command
        assert "http" not in step.text or "127.0.0.1" in step.text, "nothing is fetched but by pip, from the locks"


@pytest.mark.e2e
def test_the_steps_work_in_a_clean_directory(tmp_path: Path) -> None:
    base = sys._base_executable  # type: ignore[attr-defined]  # the interpreter behind the tests' environment
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(base)
    environ = {key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    environ |= {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    source = tmp_path / "src"
    source.mkdir()
    for step in first_stage():
        if step.word == "COPY":
            _copy(step.text.split(), source)
        elif step.word == "RUN":
            command = step.text.replace("/opt/", f"{tmp_path}/opt/")
            result = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=source, env=environ, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    _works(tmp_path / "opt", environ)


def _copy(words: list[str], source: Path) -> None:
    *names, target = words
    for name in names:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / target)


def _works(opt: Path, environ: dict[str, str]) -> None:
    [wheel] = (opt / "wheels").glob("cachemgr-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "cachemgr").rglob("*") if _is_shipped(path)}
    assert shipped <= set(names), "every file of the package is in the wheel"
    program = opt / "cachemgr" / "bin" / "cachemgr"
    result = subprocess.run([program, "--help"], env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "serve" in result.stdout
    assert not (opt / "cachemgr/bin/pip").exists()


def _is_shipped(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
