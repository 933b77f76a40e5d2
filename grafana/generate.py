"""Write the dashboards: `python -m grafana.generate`, from the top of the repository, after a change to a panel."""

import json
from collections.abc import Mapping
from pathlib import Path

from grafana import overview, providers, runtime

DASHBOARDS = Path(__file__).parent / "dashboards"


def render() -> Mapping[str, str]:
    """Return the text of each file, by its name."""
    built = {"overview": overview.build(), "providers": providers.build(), "runtime": runtime.build()}
    return {f"{name}.json": json.dumps(made, indent=2, ensure_ascii=False) + "\n" for name, made in built.items()}


if __name__ == "__main__":
    for name, text in render().items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")
