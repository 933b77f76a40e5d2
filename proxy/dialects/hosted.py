"""Output items of tools that the provider runs itself, each writing its events as the tool goes about its work."""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.dialects.events import EventWriter, ItemStatus, OutputItem
from proxy.dialects.output import delta_template


class _HostedCall(OutputItem):
    """A call of a hosted tool: in progress, busy, completed. `kind` is the item's type, `busy` names its work."""

    __slots__ = ("_began", "failed")

    kind = ""
    busy = ""

    def __init__(self, writer: EventWriter, prefix: str) -> None:
        super().__init__(writer, prefix)
        self.failed = False
        self._began = False
        self._announce()
        self._tell("in_progress")

    def _tell(self, state: str) -> None:
        self._writer.emit(f"response.{self.kind}.{state}", output_index=self.index, item_id=self.id)

    def begin(self) -> None:
        """Tell that the tool is at work, once."""
        if not self._began:
            self._began = True
            self._tell(self.busy)

    def _settle(self, status: ItemStatus) -> None:
        self.begin()
        if status == "completed":
            self._tell("completed")

    def _status(self, status: ItemStatus) -> str:
        return "failed" if self.failed and status == "completed" else status


class WebSearchCall(_HostedCall):
    """A search of the web, or a page that was opened; `action` may be set until the item is closed."""

    __slots__ = ("action",)

    kind = "web_search_call"
    busy = "searching"

    def __init__(self, writer: EventWriter) -> None:
        self.action: Mapping[str, Any] = {"type": "search", "query": "", "queries": [], "sources": []}
        super().__init__(writer, "ws")

    def search(self, queries: Sequence[str], sources: Sequence[str] = ()) -> None:
        """Say what was searched for, and the URLs that were found."""
        self._writer.spend(sum(map(len, (*queries, *sources))))
        self.action = {
            "type": "search",
            "query": queries[0] if queries else "",
            "queries": list(queries),
            "sources": [{"type": "url", "url": url} for url in sources],
        }

    def open_page(self, url: str) -> None:
        """Say which page was opened."""
        self._writer.spend(len(url))
        self.action = {"type": "open_page", "url": url}

    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands."""
        return {"id": self.id, "type": self.kind, "status": self._status(status), "action": self.action}


class CodeInterpreterCall(_HostedCall):
    """A run of code; the code may come in pieces, `log` tells what it printed."""

    __slots__ = ("_code", "_outputs", "_template", "container_id")

    kind = "code_interpreter_call"
    busy = "interpreting"

    def __init__(self, writer: EventWriter, container_id: str = "auto") -> None:
        self.container_id = container_id
        self._code: list[str] = []
        self._outputs: list[Mapping[str, Any]] = []
        super().__init__(writer, "ci")
        place = {"item_id": self.id, "output_index": self.index}
        self._template = delta_template("response.code_interpreter_call_code.delta", place)

    def add_code(self, piece: str) -> None:
        """Go on with the code."""
        self._writer.emit_delta(self._template, piece, b"")
        self._code.append(piece)

    def begin(self) -> None:
        """Tell that the code is whole and runs, once."""
        if not self._began:
            name = "response.code_interpreter_call_code.done"
            self._writer.emit(name, item_id=self.id, output_index=self.index, code="".join(self._code))
        super().begin()

    def log(self, text: str) -> None:
        """Add what the code printed or returned."""
        self.begin()
        self._writer.spend(len(text))
        self._outputs.append({"type": "logs", "logs": text})

    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands."""
        return {
            "id": self.id,
            "type": self.kind,
            "status": self._status(status),
            "code": "".join(self._code),
            "container_id": self.container_id,
            "outputs": list(self._outputs) or None,
        }


class ImageGenerationCall(_HostedCall):
    """An image the model made, in base64."""

    __slots__ = ("_result",)

    kind = "image_generation_call"
    busy = "generating"

    def __init__(self, writer: EventWriter) -> None:
        self._result: str | None = None
        super().__init__(writer, "ig")

    def show(self, encoded: str) -> None:
        """Give the image."""
        self._writer.spend(len(encoded))
        self._result = encoded

    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands; the API knows none that is incomplete."""
        told = "failed" if status == "incomplete" else self._status(status)
        return {"id": self.id, "type": self.kind, "status": told, "result": self._result}
