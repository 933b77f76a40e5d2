import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.operations.containers import Container, Machine
from tests.operations.dockerfile import Build
from tests.rig.eventually import eventually


@pytest.fixture(scope="session")
def x(): pass

ROOT = Path(__file__).parents[2]

def test_x(tmp_path):
    import time
    t=time.time()
    with Machine() as m:
        b = Build(m, ROOT/"deploy/Dockerfile", ROOT)
        image = b.run()
        print(time.time()-t, image)
        print(m.run("sh","-c","du -sm /mnt/*; du -sm /mnt/stage-2/upper/*; ls -la /mnt/stage-2/upper/var/lib"))
