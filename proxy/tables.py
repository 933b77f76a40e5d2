"""Rows of text in aligned columns, as the commands print them."""

from collections.abc import Iterator, Sequence


def align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Render rows as lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Render rows as lines, and an empty line that sets them apart from what follows."""
    yield from align(rows)
    yield ""
