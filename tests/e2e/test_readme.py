"""The README's examples do what they say, as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = re.compile(r"<!-- run: (bash|python) -->\n```\w+\n(.*?)```", re.DOTALL)


def test_examples_of_the_readme(platform: Any, tmp_path: Path) -> None:
    """Every example that is marked runs, in the order of the page, against a platform on another port."""
    examples = EXAMPLES.findall((REPOSITORY / "README.md").read_text())
    assert len(examples) == 5
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
    for expected in ('{"hello": "Ada"}', "{'hello': 'Grace'}", '{"hello": "curl"}', "{'hello': 'client'}", "hello Ada"):
        assert expected in said, said
