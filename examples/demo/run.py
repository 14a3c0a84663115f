"""The demo: everything that Lambent is for, seen to work, with the time that each step took.

    python examples/demo/run.py                                     a platform of its own
    python examples/demo/run.py --endpoint http://127.0.0.1:4566    one that runs already, such as Compose's

Exit status 0 says that all of it was really seen, 1 that something was not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator

from own_platform import PlatformFailed, own_platform
from steps import Demo, DemoFailed

from lambent import Client, DeployFailed, LambentError

STEPS: tuple[tuple[str, Callable[[Demo], None]], ...] = (
    ("Choose a runtime", Demo.choose_runtime),
    ("Deploy resize-image; the platform installs Pillow", Demo.deploy_resizer),
    ("Fetch a resized picture, cold", Demo.cold_call),
    ("Fetch others, warm", Demo.warm_calls),
    ("Resize one asynchronously", Demo.asynchronous_call),
    ("Deploy flaky; its first attempt fails and is retried", Demo.failing_call),
    ("Read its log", Demo.show_log),
    ("Deploy orders, an application of SAM's: an API, a queue, a worker, a schedule", Demo.deploy_orders),
    (
        "Place orders; the one that cannot be shipped is tried again, alone, and becomes a dead letter",
        Demo.failing_order,
    ),
    ("Let the clock call the nightly report", Demo.clock_calls),
    ("Go back to zero", Demo.back_to_zero),
)


def main() -> int:
    """Run the demo and return the exit status."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The demo's functions belong to the platform's default region, and are called by paths that name none.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    begun = time.monotonic()
    own = options.endpoint is None
    try:
        with contextlib.ExitStack() as held:
            endpoint = options.endpoint
            if endpoint is None:
                with timed("Start a platform"):
                    endpoint = held.enter_context(own_platform(["--sandbox", options.sandbox, "--clock", "virtual"]))
                    say(endpoint)
            client = held.enter_context(Client(endpoint))
            demo = Demo(
                client,
                secrets.token_hex(3),
                say,
                retry_wait_s=options.retry_wait_s or (60.0 if own else 180.0),
                zero_wait_s=options.zero_wait_s or (60.0 if own else 420.0),
                stems_too=own,
            )
            held.callback(clean_up, demo)
            for title, step in STEPS:
                with timed(title):
                    step(demo)
            with timed("Clean up"):
                held.close()
                say("functions deleted" + (", platform ended" if own else ""))
    except DeployFailed as error:
        return failed(f"{error}\n{error.build_log}".rstrip())
    except (DemoFailed, PlatformFailed, LambentError) as error:
        return failed(str(error))
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(f"All of it was seen, in {time.monotonic() - begun:.1f} s.\n")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Show Lambent at work, and check it.")
    parser.add_argument("--endpoint", help="a platform that runs already; one is started otherwise")
    parser.add_argument("--sandbox", default="auto", choices=("auto", "docker", "process"), help="for the one started")
    parser.add_argument("--retry-wait-s", type=float, help="how long a retry may take (60, with --endpoint 180)")
    parser.add_argument("--zero-wait-s", type=float, help="how long going to zero may take (60, with --endpoint 420)")
    return parser.parse_args()


def say(text: str) -> None:
    """Print what a step saw."""
    sys.stdout.write(f"    {text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def timed(title: str) -> Iterator[None]:
    """Print a step's title, and after it how long it took."""
    sys.stdout.write(f"{title}\n")
    sys.stdout.flush()
    begun = time.monotonic()
    yield
    say(f"[{time.monotonic() - begun:.2f} s]")


def clean_up(demo: Demo) -> None:
    """Delete what was deployed; where that fails the step's own failure is the one to show."""
    try:
        demo.clean_up()
    except LambentError as error:
        sys.stderr.write(f"demo: could not clean up: {error}\n")


def failed(reason: str) -> int:
    """Say what was not seen, and return the exit status for it."""
    sys.stdout.flush()
    sys.stderr.write(f"demo failed: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
