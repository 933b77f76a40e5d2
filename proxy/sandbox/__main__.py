"""The sandbox provider as a process of its own, which the supervisor starts."""

import argparse
import sys

from proxy.sandbox.server import serve


def main() -> int:
    """Serve until the other end of the control line is closed; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m proxy.sandbox", description="Only the supervisor starts this.")
    parser.add_argument("--control-fd", type=int, required=True)
    return serve(parser.parse_args().control_fd)


if __name__ == "__main__":
    sys.exit(main())
