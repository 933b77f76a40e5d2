"""A host of images, a fetcher that may ask it, and what it says of what it cannot fetch."""

import pytest

from proxy.config import FetchConfig
from proxy.errors import BadRequest
from proxy.fetching import Fetcher
from tests.rig.certificates import Authority
from tests.rig.origin import Names, Origin

PNG = b"\x89PNG\r\n\x1a\nrest"
PARAM = "input[0].content[1].image_url"
NO_ADDRESS = "its host has no public address"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def origin(authority):
    """Give a host of images at 127.0.0.1, and by two names."""
    async with Origin(authority.vouch_for("images.test", "other.test", "127.0.0.1")) as running:
        yield running


@pytest.fixture
async def fetcher(origin, authority):
    """Make a fetcher, closed with the test, to which 127.0.0.1 is public and its neighbours are not."""
    made = []

    def make(names=None, **settings):
        fixed = {"allow_networks": ("127.0.0.1/32",), "ports": (origin.port,), "ca_file": str(authority.ca_file)}
        made.append(Fetcher(FetchConfig(**fixed | settings), lookup=names or Names(images=["127.0.0.1"])))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def url(origin):
    return lambda path="/x", host="images.test": f"https://{host}:{origin.port}{path}"


async def refused(fetching):
    with pytest.raises(BadRequest) as raised:
        await fetching
    error = raised.value
    assert error.param == PARAM
    start, _, reason = error.message.removesuffix(".").partition(": ")
    assert start == "The image's URL cannot be fetched"
    return error.code, reason
