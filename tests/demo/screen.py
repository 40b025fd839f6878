"""What a person at the terminal sees: headings, commands and checks; the same words without colours elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

_BOLD, _FAINT, _GOOD, _BAD = "1", "2", "32", "31"


class Screen:
    """Writes to stdout, flushed at once: commands write between our lines."""

    def __init__(self) -> None:
        dull = "NO_COLOR" in os.environ or os.environ.get("TERM", "") in ("", "dumb")
        self._colours = sys.stdout.isatty() and not dull
        self._symbols = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()

    @property
    def width(self) -> int:
        """Columns to write in."""
        return min(shutil.get_terminal_size((100, 24)).columns, 100)

    def title(self, text: str) -> None:
        """The headline of it all, or of the end."""
        self.line(self._in(text, _BOLD))

    def heading(self, number: int, text: str) -> None:
        """A step begins."""
        self.line()
        self.line(self._in(f"{number}. {text}", _BOLD))

    def say(self, text: str) -> None:
        """A sentence or two."""
        for line in textwrap.wrap(text, self.width - 2, break_long_words=False, break_on_hyphens=False):
            self.line("  " + self._in(line, _FAINT))

    def command(self, text: str) -> None:
        """What is typed next; what it prints follows."""
        self.line()
        self.line(self._in("$", _FAINT) + " " + self._in(text, _BOLD))

    def tick(self, text: str) -> None:
        """Something that was checked, and holds."""
        self._marked("✓" if self._symbols else "ok:", text, _GOOD)

    def fault(self, text: str) -> None:
        """Something that was checked, and does not hold."""
        self._marked("✗" if self._symbols else "wrong:", text, _BAD)

    def line(self, text: str = "") -> None:
        """Exactly this line."""
        print(text, flush=True)

    def _marked(self, mark: str, text: str, colour: str) -> None:
        head = f"  {mark} "
        lines = textwrap.wrap(text, self.width - len(head), break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(lines):
            self.line((self._in(head, colour) if number == 0 else " " * len(head)) + line)

    def _in(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours else text
