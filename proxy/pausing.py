"""aiohttp's connections, but for the run of the parser over nothing that follows each read."""

from aiohttp.base_protocol import BaseProtocol


class PausingProtocol(BaseProtocol):
    """A connection that makes its parser go on only where it can have stopped.

    aiohttp asks for that after every read. The parser stops, without a word to the protocol, inside what comes after a
    pause: once there was one, it is made to go on every time. `_ever_paused` has to be set to False before the first.
    """

    __slots__ = ()
    _ever_paused: bool

    def pause_reading(self) -> None:
        """Stop the parser, which may hold bytes back from now on."""
        self._ever_paused = True  # type: ignore[misc]  # a slot of the class that has one
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Make the parser go on, where it may have stopped."""
        if self._ever_paused:
            super().resume_reading(resume_parser)
