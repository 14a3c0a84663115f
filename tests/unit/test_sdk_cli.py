"""The `lambent` command as far as it needs no platform."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lambent.cli.main import EXIT_UNREACHABLE, EXIT_USAGE, run
from lambent.cli.options import Duration
from lambent.cli.output import age_text, bytes_text, log_text


def test_help_lists_every_command_and_imports_none() -> None:
    """Neither the client's nor the platform's libraries are paid for by a look at the help."""
    script = (
        "import sys; from lambent.cli.main import run; run(['--help']); "
        "print([name for name in ('aiohttp', 'redis', 'rich', 'botocore', 'pydantic') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    for command in ("init", "deploy", "invoke", "logs", "ls", "rm", "url", "ps", "up", "gateway", "worker"):
        assert f"\n  {command} " in out
    assert out.endswith("[]\n")


def test_nothing_listening_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and a status of its own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        status = run(["ls", "--endpoint", f"http://127.0.0.1:{unused.getsockname()[1]}"])
    captured = capsys.readouterr()
    assert status == EXIT_UNREACHABLE
    assert captured.out == ""
    assert captured.err.startswith("lambent: nothing listens at")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command"),
        (["deploy", "/absent"], "is not a folder"),
        (["deploy", "-e", "NOVALUE"], "is not NAME=VALUE"),
        (["logs", "f", "--since", "yesterday"], "is not a time such as"),
        (["invoke", "f", "-d", "@/absent"], "cannot be read"),
        (["ls", "--endpoint", "nonsense"], "is not a URL"),
        (["init"], "name the folder"),
        (["init", "x", "--template", "cobol"], "there is no 'cobol'"),
    ],
)
def test_wrong_usage_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """Each mistake has its sentence on standard error and the status for usage."""
    assert run(arguments) == EXIT_USAGE
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_init_makes_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder has its name, and the next step is said."""
    assert run(["init", str(tmp_path / "hi"), "--template", "nodejs-hello"]) == 0
    assert 'name = "hi"' in (tmp_path / "hi" / "lambent.toml").read_text()
    assert f"lambent deploy {tmp_path / 'hi'}" in capsys.readouterr().err


def test_a_trace_in_one_event_reads_as_lines() -> None:
    """Carriage returns would let a terminal show the last line alone."""
    assert log_text("[ERROR] E\rTraceback:\r\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}File\r\nend\n") == (
        "[ERROR] E\nTraceback:\n  File\nend\n"
    )


def test_times_and_sizes_read_as_people_write_them() -> None:
    """Durations in, ages and sizes out."""
    duration = Duration()
    assert [duration.convert(text, None, None) for text in ("90", "90s", "10m", "1.5h", "2d")] == [
        90, 90, 600, 5400, 172_800,
    ]  # fmt: skip
    assert [age_text(seconds) for seconds in (0.4, 59, 61, 3660, 90_000)] == ["0s", "59s", "1m01s", "1h01m", "1d01h"]
    assert [bytes_text(count) for count in (0, 1023, 1536, 5 * 2**20)] == ["0 B", "1023 B", "1.5 KB", "5.0 MB"]


def test_dead_letters_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """An error's message, however long and of however many lines, does not spoil the table."""
    from lambent.cli.dead import _list_messages
    from lambent.dead import DeadMessage

    error = {"ErrorMessage": "no\ngood " + "x" * 1000}
    _list_messages([DeadMessage("id", "body", {"ApproximateReceiveCount": "1"}, error)], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "no good xxx" in lines[1]
    assert len(lines[1]) < 150
