"""The limits of form: what is short can be read, what is named well can be found."""

from __future__ import annotations

import ast
import logging
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("cachemgr", "tests", "benchmarks")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
OURS = [path for path in FILES if path.is_relative_to(ROOT / "cachemgr")]

LONGEST_FUNCTION, LONG_FUNCTION = 60, 40
LONGEST_FILE, LONG_FILE = 400, 300
PORT_METHODS = 8
CONSTRUCTOR_ARGUMENTS = 6
# "Nearly all" and "median", as numbers.
MOST_LONG = 0.05
MEDIAN_FUNCTION = 10

FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?|base|common|misc)(_|$)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(paths: list[Path]) -> Iterator[tuple[str, Function]]:
    for path in paths:
        for node in ast.walk(tree(path)):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def classes(paths: list[Path]) -> Iterator[tuple[str, ast.ClassDef]]:
    for path in paths:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_is_too_long() -> None:
    assert [(where, length(node)) for where, node in functions(FILES) if length(node) > LONGEST_FUNCTION] == []


def test_nearly_all_functions_are_short() -> None:
    lengths = [length(node) for _, node in functions(OURS)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert sum(one > LONG_FUNCTION for one in lengths) <= MOST_LONG * len(lengths)


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}
    ours = [lines for path, lines in lengths.items() if path.startswith("cachemgr/")]
    assert sum(lines > LONG_FILE for lines in ours) <= MOST_LONG * len(ours)


def test_ports_are_small() -> None:
    found = []
    for where, node in classes(FILES):
        if any(ast.unparse(parent).split("[")[0].endswith("Protocol") for parent in node.bases):
            methods = [item for item in node.body if isinstance(item, Function) and not _is_property(item)]
            found += [(where, len(methods))] if len(methods) > PORT_METHODS else []
    assert found == []


def _is_property(node: Function) -> bool:
    return any(ast.unparse(decorator) == "property" for decorator in node.decorator_list)


def test_constructors_take_few_arguments() -> None:
    found = []
    for where, node in functions(OURS):
        if node.name == "__init__":
            names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found += [(where, len(names) - 1)] if len(names) - 1 > CONSTRUCTOR_ARGUMENTS else []
    # Errors carry the fields of their problem document, each by its name.
    assert [(where, count) for where, count in found if "/domain/errors.py" not in where] == []


def test_no_name_says_nothing() -> None:
    modules = [str(path.relative_to(ROOT)) for path in FILES if FORBIDDEN_NAMES.search(path.stem.lower())]
    named = [where for where, node in classes(FILES) if FORBIDDEN_NAMES.search(_snake(node.name))]
    assert modules + named == []


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_and_has_modern_annotations(path: Path) -> None:
    module = tree(path)
    assert not module.body or ast.get_docstring(module), "a module opens with one sentence"
    code = [node for node in module.body if not isinstance(node, ast.Expr)]
    futures = [node for node in code if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert not code or futures or path.name == "__init__.py", "from __future__ import annotations"


def test_rooms_re_export_nothing() -> None:
    imports = (ast.Import, ast.ImportFrom)
    inits = [path for path in FILES if path.name == "__init__.py"]
    found = [path for path in inits if any(isinstance(node, imports) for node in ast.walk(tree(path)))]
    assert [str(path.relative_to(ROOT)) for path in found] == []


def test_values_are_frozen() -> None:
    found = []
    for where, node in classes(OURS):
        for decorator in node.decorator_list:
            if not node.name.startswith("_") and ast.unparse(decorator).split("(")[0].endswith("dataclass"):
                given = {word.arg for word in decorator.keywords} if isinstance(decorator, ast.Call) else set()
                wanted = {"slots"} if _is_state(node) else {"slots", "frozen"}
                found += [where] if not wanted <= given else []
    assert found == []


def _is_state(node: ast.ClassDef) -> bool:
    """True if a method changes its own object: such a thing is no value."""
    assigned = [one for one in ast.walk(node) if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)]
    return any(isinstance(one.value, ast.Name) and one.value.id == "self" for one in assigned)


def test_everything_public_says_its_contract() -> None:
    found = []
    for path in OURS:
        for node in tree(path).body:
            public = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):  # type: ignore[arg-type]  # mypy does not follow the name
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_what_is_ignored_has_its_reason() -> None:
    marks = re.compile(r"#\s*(type:\s*ignore|noqa)(\[[\w, -]+\]|:\s*[A-Z0-9, ]+)?(?P<reason>\s*[#(-]\s*\S.*)?")
    found = []
    for path in FILES:
        explained = False
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            mark = marks.search(line)
            # On its line, or on the one above it and others of its kind.
            if mark and not (mark[2] and (mark["reason"] or explained)) and path != Path(__file__):
                found.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")
            explained = line.strip().startswith("#") or (explained and mark is not None)
    assert found == []


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    lines = [(path, line) for path in FILES for line in path.read_text().splitlines()]
    assert [(str(path.relative_to(ROOT)), line.strip()) for path, line in lines if words.search(line)] == []


def test_no_log_field_takes_a_name_that_the_log_needs() -> None:
    # logging raises KeyError for these, at the moment when something happened that was worth a line.
    taken = {*vars(logging.makeLogRecord({})), "message", "asctime", "event", "level", "logger", "timestamp"}
    found = []
    for path in OURS:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                keys = {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
                found += [f"{path.relative_to(ROOT)}:{node.value.lineno} {keys & taken}"] if keys & taken else []
    assert found == []


def test_no_task_runs_without_an_owner() -> None:
    # asyncio keeps a weak reference only: such a task can vanish, and nobody sees its error.
    found = []
    for path in OURS:
        for node in ast.walk(tree(path)):
            bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            name = ast.unparse(node.value.func) if bare else ""  # type: ignore[attr-defined]  # a call, as bare says
            if name.endswith(("asyncio.create_task", "ensure_future", "loop.create_task")):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]  # a statement
    assert found == []


def test_nobody_walks_away_from_a_thread() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in OURS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("to_thread", "run_in_executor")
    ]
    assert found == []
