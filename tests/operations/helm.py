"""Helm, as far as no cluster is needed: `python helm.py template|lint|package …`, or many renderings in one process.

It is a process of its own because the library takes over signals and writes to standard error as it likes.
"""

import argparse
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/responses-proxy"
EXAMPLES = sorted((CHART / "values-examples").glob("*.yaml"))
RELEASE = "gateway"
NAMESPACE = "llm"
WARNING = 2
"""Severity from which on a finding of `lint` counts."""

Values = dict[str, Any]
Manifest = dict[str, Any]


class Refused(Exception):
    """The chart did not render; the message is what an operator reads."""


class Rendered:
    """What the chart made of values: every object, and the notes."""

    def __init__(self, templates: dict[str, str]) -> None:
        notes = next(name for name in templates if name.endswith("NOTES.txt"))
        self.notes = templates.pop(notes)
        documents = (document for text in templates.values() for document in yaml.safe_load_all(text))
        self.objects: list[Manifest] = [document for document in documents if document]

    def all(self, kind: str) -> list[Manifest]:
        """Return the objects of that kind."""
        return [manifest for manifest in self.objects if manifest["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Manifest:
        """Return the only object of that kind whose name ends so."""
        (found,) = (manifest for manifest in self.all(kind) if manifest["metadata"]["name"].endswith(suffix))
        return found

    @property
    def pod(self) -> Manifest:
        """The Deployment's pod template."""
        return self.one("Deployment")["spec"]["template"]

    @property
    def gateway(self) -> Manifest:
        """The gateway's container."""
        return self.pod["spec"]["containers"][0]

    @property
    def configuration(self) -> str:
        """The gateway's configuration file."""
        (found,) = (manifest["data"] for manifest in self.all("ConfigMap") if "gateway.yaml" in manifest["data"])
        return found["gateway.yaml"]


def render(*several: Values, chart: Path = CHART, name: str = RELEASE) -> list[Rendered | Refused]:
    """Render the chart once for each of these values."""
    job = json.dumps({"chart": str(chart), "name": name, "values": several})
    run = subprocess.run([sys.executable, __file__], input=job, capture_output=True, text=True, check=False)  # noqa: S603
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    return [Refused(answer) if isinstance(answer, str) else Rendered(answer) for answer in answers]


def render_one(values: Values, *, name: str = RELEASE) -> Rendered:
    """Render the chart; raise Refused where it does not."""
    (answer,) = render(values, name=name)
    if isinstance(answer, Refused):
        raise answer
    return answer


def read_example(name: str) -> Values:
    """Return the values of an example."""
    return yaml.safe_load((CHART / "values-examples" / f"{name}.yaml").read_text(encoding="utf-8"))


@functools.cache
def rendered_examples() -> dict[str, Rendered]:
    """Return what the chart makes of each example; raise Refused where it does not."""
    answers = render(*(read_example(path.stem) for path in EXAMPLES))
    for answer in answers:
        if isinstance(answer, Refused):
            raise answer
    return dict(zip((path.stem for path in EXAMPLES), answers, strict=True))


def main(argv: list[str]) -> int:
    """Answer one command line, or a job from standard input."""
    if not argv:
        json.dump(_render_job(json.load(sys.stdin)), sys.stdout)
        return 0
    parser = argparse.ArgumentParser(prog="helm")
    commands = parser.add_subparsers(required=True)
    for name, run in (("template", _template), ("lint", _lint), ("package", _package)):
        command = commands.add_parser(name)
        if name == "template":
            command.add_argument("name")
        command.add_argument("chart")
        command.add_argument("--values", "-f")
        command.add_argument("--show-only", "-s")
        command.add_argument("--strict", action="store_true")
        command.add_argument("--namespace", choices=[NAMESPACE], default=NAMESPACE)
        command.add_argument("--destination", "-d", default=".")
        command.set_defaults(run=run)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _render_job(job: dict[str, Any]) -> list[dict[str, str] | str]:
    import helm_python  # noqa: PLC0415 - loading it is what tests keep out of their own process

    chart = helm_python.Chart.load(job["chart"])
    answers: list[dict[str, str] | str] = []
    for values in job["values"]:
        try:
            answers.append(chart.render(values, name=job["name"], namespace=NAMESPACE))
        except helm_python.HelmError as error:
            answers.append(error.detail)
    return answers


def _template(arguments: argparse.Namespace) -> int:
    values = yaml.safe_load(Path(arguments.values).read_text(encoding="utf-8")) if arguments.values else {}
    (answer,) = _render_job({"chart": arguments.chart, "name": arguments.name, "values": [values]})
    if isinstance(answer, str):
        sys.stderr.write(f"Error: {answer}\n")
        return 1
    for path, text in answer.items():
        if not path.endswith("NOTES.txt") and path.endswith(arguments.show_only or ""):
            sys.stdout.write(f"---\n# Source: {path}\n{text}\n")
    return 0


def _lint(arguments: argparse.Namespace) -> int:
    import helm_python  # noqa: PLC0415 - see above

    values = yaml.safe_load(Path(arguments.values).read_text(encoding="utf-8")) if arguments.values else {}
    report = helm_python.lint(arguments.chart, values, strict=arguments.strict)
    findings = [message for message in report["messages"] if message["severity"] >= WARNING]
    sys.stdout.write("".join(f"{message['path']}: {message['error']}\n" for message in findings))
    return 1 if findings or report["errors"] else 0


def _package(arguments: argparse.Namespace) -> int:
    import helm_python  # noqa: PLC0415 - see above

    sys.stdout.write(f"{helm_python.package(arguments.chart, destination=arguments.destination)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
