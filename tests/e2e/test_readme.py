"""The examples of README and of each page in docs do what they say, as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = re.compile(r"<!-- run: (bash|python) -->\n```\w+\n(.*?)```", re.DOTALL)


PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
SAID = {
    "README.md": (
        *('{"hello": "Ada"}', "{'hello': 'Grace'}", '{"hello": "curl"}', "{'hello': 'client'}", "hello Ada"),
        *("job 1 is done", "job 2 cannot be done"),
    ),
    "docs/apis.md": ('"path": "/hello/Ada"',),
    "docs/keep-alive.md": ("seldom",),
    "docs/queues.md": ("failed-jobs after 3", '{"name": "Ada"}', "hello", "from curl", "queue jobs"),
    "docs/schedules.md": ("mornings",),
    "docs/streaming.md": ("1",),
    "docs/streams.md": ("stream/readings",),
    "docs/templates.md": ("AWS::SQS::Queue",),
}
"""What the examples of a page print, among other things."""


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_a_page(page: str, platform: Any, tmp_path: Path) -> None:
    """Every example that is marked runs, in the order of the page, against a platform on another port."""
    examples = EXAMPLES.findall((REPOSITORY / page).read_text())
    assert bool(examples) == (page != "docs/clock.md")
    environ = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": platform.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_PAGER": "",
    }
    said = ""
    for kind, text in examples:
        text = text.replace("http://127.0.0.1:4566", platform.endpoint).replace("python3.13", platform.python())
        command = ["bash", "-euo", "pipefail", "-c", text] if kind == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
    for expected in SAID.get(page, ()):
        assert expected in said, said


@pytest.mark.parametrize("page", [*PAGES, "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md"])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    """Every link to a file of the project names one that is there, and every anchor a heading."""
    for path, anchor in LINK.findall((REPOSITORY / page).read_text()):
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, anchor
