"""The architecture's rules, each executed with its because."""

import ast
import functools
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
IMPURE = {"aiohttp", "asyncio", "redis", "logging", "time", "socket", "prometheus_client"}
TOP_LEVEL = {"pyproject.toml", "README.md", "CHANGELOG.md", "proxy", "tests", "deploy", "grafana"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|tmp|root)/\w")
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef

SOURCES = sorted((ROOT / "proxy").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PROGRAMS = sorted((ROOT / "grafana").rglob("*.py"))


def name_of(path):
    return str(path.relative_to(ROOT))


def each(paths):
    """Make of a rule, which returns what breaks it in one file, one test of all these files."""

    def decorate(rule):
        def test():
            assert paths
            assert not {name_of(path): found for path in paths if (found := rule(path))}, rule.__doc__

        return test

    return decorate


@functools.cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def pure_sources():
    """Return the files of the floors from `providers` down, as the import contract lists them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = {name.strip() for layer in layers[layers.index("providers") :] for name in re.split(r"[|:]", layer)}
    return [path for path in SOURCES if path.relative_to(ROOT / "proxy").parts[0].removesuffix(".py") in names]


def function_lines(function):
    """Count a function's lines from its `def`, docstring excluded."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def imported(tree):
    """Return the top-level packages a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@functools.cache
def project_files():
    """Return what a clone would hold: the files git tracks, and those it would if asked to."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


@each(SOURCES + TESTS + PROGRAMS)
def test_file_fits_in_a_head(path):
    """Because a file nobody can hold grows until nobody dares to."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    return lines if lines > MAX_FILE_LINES else None


@each(SOURCES + TESTS + PROGRAMS)
def test_functions_fit_on_a_screen(path):
    """Because the tail of long functions is where the quality of a codebase is lost."""
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, FUNCTIONS)]
    return {function.name: lines for function in functions if (lines := function_lines(function)) > MAX_FUNCTION_LINES}


@each(SOURCES + TESTS + PROGRAMS)
def test_names_say_something(path):
    """Because what is called `utils` takes in anything."""
    classes = [node.name for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef)]
    words = re.findall(r"[A-Za-z][a-z]*", " ".join([*path.relative_to(ROOT).with_suffix("").parts, *classes]))
    return VAGUE.intersection(map(str.lower, words))


@each(SOURCES)
def test_module_opens_with_its_responsibility(path):
    """Because a responsibility that takes more than a sentence is two."""
    return None if ast.get_docstring(parse(path)) else "no docstring"


@each([path for path in SOURCES if path.name != "__init__.py"])
def test_module_has_its_test_file(path):
    """Because a failure must say where to look, and a change where to add. A shelf may share one file."""
    names = {f"test_{path.stem.strip('_')}.py"}
    if path.parent.name != "proxy":
        names.add(f"test_{path.relative_to(ROOT / 'proxy').parts[0]}.py")
    return None if names.intersection(test.name for test in TESTS) else f"one of {sorted(names)} is missing"


@each(pure_sources())
def test_pure_floor_stays_pure(path):
    """Because what meets no socket, clock or loop is tested whole, byte by byte and cut at random."""
    return IMPURE.intersection(imported(parse(path)))


def test_pure_floors_are_found():
    """Because a rule over no files holds for ever."""
    assert {"proxy/errors.py", "proxy/sse.py", "proxy/config.py", "proxy/providers/base.py"} <= set(
        map(name_of, pure_sources())
    )


@each(SOURCES)
def test_tasks_have_an_owner(path):
    """Because a task nobody holds is collected in mid-flight and its exception is lost."""
    return [
        node.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith(("asyncio.create_task", "ensure_future", "loop.create_task"))
    ]


def test_no_file_names_a_path_of_one_machine():
    """Because it would work on that machine only."""
    found = [
        f"{name_of(path)}:{number}"
        for path in project_files()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


def test_top_level_holds_what_was_agreed():
    """Because the first look at a repository is its top level."""
    names = {path.relative_to(ROOT).parts[0] for path in project_files()}
    assert not {name for name in names if not name.startswith(".")} - TOP_LEVEL


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_project_introduces_itself(name):
    """Because users begin there."""
    assert (ROOT / name).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    ("function", "lines"),
    [
        ("def f():\n    pass", 2),
        ('def f():\n    """One\n    two."""\n    pass', 2),
        ("@d\nasync def f(\n    a,\n): pass", 3),
    ],
)
def test_function_lines_leave_the_docstring_out(function, lines):
    """Because writing down what is owed must not cost a line of code."""
    assert function_lines(ast.parse(function).body[0]) == lines
