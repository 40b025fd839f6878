"""Progress bars: one per transfer, on stderr, gone when the transfer is."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from cachemgr.cli.follow import View
from cachemgr.cli.output import note, printable
from cachemgr.cli.text import duration, short_ref, shortened, size, speed
from cachemgr.cli.words import changed

_SPARE = 3


class _Cell(ProgressColumn):
    """A column of fixed width, so that nothing jumps while numbers change."""

    def __init__(self, name: str, columns: int) -> None:
        super().__init__(Column(width=columns, no_wrap=True))
        self._name = name
        self._columns = columns

    def render(self, task: Task) -> Text:
        text = shortened(_cell(self._name, task), self._columns)
        return Text(text.ljust(self._columns) if self._name == "ref" else text.rjust(self._columns), no_wrap=True)


def _cell(name: str, task: Task) -> str:
    if name == "ref":
        return printable(str(task.fields["ref"]))
    if name == "bytes":
        return f"{size(task.completed)}/{size(task.total)}" if task.total else "starting"
    if name == "speed":
        return speed(task.speed) if task.speed else ""
    if name == "left":
        return duration(task.time_remaining) if task.time_remaining else ""
    return f"{task.fields['done']}/{task.fields['files']}" if task.fields["files"] else ""


class Bars:
    """Draws on stderr until it is left; what remains is one line for each transfer that ended well."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        wide = console.width >= 100
        cells = [
            ("ref", 40 if wide else 22),
            ("bytes", 15),
            ("speed", 9),
            *([("left", 11)] if wide else []),
            ("files", 5),
        ]
        # Short of the edge: the ^C that a terminal echoes would start a new line there, and leave the bar above it.
        bar = max(console.width - sum(columns for _, columns in cells) - len(cells) - _SPARE, 4)
        columns = [_Cell(*cell) for cell in cells]
        self._progress = Progress(columns[0], BarColumn(bar), *columns[1:], console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._lines: list[str] = []

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for task in self._tasks.values():
            self._progress.update(task, visible=False)  # or the last frame stays above what is said next
        self._progress.stop()
        for line in self._lines:
            note(line)

    def show(self, view: View) -> None:
        """Move its bar."""
        fields = {
            "ref": short_ref(str(view["ref"])),
            "files": view["files"],
            "done": view["files_done"],
        }
        if view["id"] not in self._tasks:
            self._tasks[view["id"]] = self._progress.add_task("", total=None, **fields)
        task = self._tasks[view["id"]]
        self._progress.update(task, total=view["total_bytes"], completed=view["done_bytes"], **fields)
        if view["state"] in ("done", "cancelled", "failed"):
            self._progress.update(task, visible=False)
            if line := changed(view):
                self._lines.append(f"{view['ref']}: {line}")

    def tick(self) -> None:
        """Nothing: the bars redraw themselves."""
