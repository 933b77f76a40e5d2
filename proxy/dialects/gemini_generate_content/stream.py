"""Translates a stream of Gemini's answers into the Responses event stream."""

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.gemini_generate_content.answer import Answer
from proxy.dialects.translator import SseTranslator

DIALECT = "an answer of Gemini"


class GeminiTranslator(SseTranslator):
    """Reads answers up to the end of the body, before which one has to have a finish reason."""

    dialect = DIALECT

    def __init__(self, context: Context) -> None:
        self._answer = Answer(context)
        super().__init__(context, self._answer.writer)

    def _read_data(self, data: bytes) -> None:
        answer = self._answer
        answer.take(orjson.loads(data))
        if answer.failure is not None:
            self.writer.fail(answer.failure, answer.usage, announce=True)

    def _finish(self) -> None:
        if self._answer.ended:
            self._answer.finish()

    def _lose(self, failure: Failure) -> None:
        self.usage = self._answer.usage
        super()._lose(failure)
