"""What the documents say: their links lead somewhere, and the commands they show are commands."""

import re
import shlex
from pathlib import Path

import pytest

from proxy.__main__ import _parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "deploy").rglob("*.md")), *sorted((ROOT / "grafana").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"responses-proxy ((?:serve|check|doctor|bindings|keys|demo)\b[^`\n|;>#)]*)")
PROSE = ("…", "[")
"""What stands in a synopsis for anything, or for what may be left out."""


def anchors(path):
    """Return the anchors that a Markdown renderer gives a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(path):
    """Return the command lines a document shows, without what follows them in a pipe or a list."""
    for found in COMMAND.findall(path.read_text(encoding="utf-8")):
        line = found.partition(" (")[0].rstrip(" .,:")
        if not any(mark in line for mark in PROSE):
            yield line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    """Because at night nobody guesses where a page has moved to."""
    dead = []
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_commands_are_understood(capsys):
    """Because a command that is refused is worse than none."""
    refused, seen = [], 0
    for path in DOCUMENTS:
        for line in commands(path):
            words = [word.replace("$", "").strip("\"'") for word in shlex.split(line)]
            seen += 1
            try:
                _parser().parse_args(words)
            except SystemExit:
                refused.append(f"{path.relative_to(ROOT)}: {line}")
    capsys.readouterr()
    assert not refused
    assert seen > 20


def test_what_looks_is_found(tmp_path):
    """A search that finds nothing holds for ever."""
    page = tmp_path / "page.md"
    page.write_text("# A, b!\n\n    responses-proxy check --config x.yaml | cat\n", encoding="utf-8")
    assert anchors(page) == {"a-b"}
    assert list(commands(page)) == ["check --config x.yaml"]
