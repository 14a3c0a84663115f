"""Settings and the flags made of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from lambent_platform.main.commands import COMMANDS
from lambent_platform.main.options import every_setting, with_settings
from lambent_platform.main.settings import Settings, SettingsError, flag, load


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine that runs the tests counts."""
    for name in every_setting():
        monkeypatch.delenv(f"LAMBENT_{name.upper()}", raising=False)


def test_defaults() -> None:
    """Without anything given the platform listens on loopback, on the port that the wrappers use."""
    settings = load({})
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 4566, Path("~/.lambent").expanduser())
    assert (settings.durability, settings.sandbox, settings.stems) == ("everysec", "auto", 1)
    assert settings.async_retry_delays_s == (60, 120)
    assert settings.of_public_url() == "http://127.0.0.1:4566"
    assert settings.of_objects() == f"file://{settings.data_dir}/objects"
    assert settings.of_capacity_mb() > 0


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given on the command line counts, else the variable, else the default."""
    monkeypatch.setenv("LAMBENT_IDLE_TIMEOUT_S", "7")
    monkeypatch.setenv("LAMBENT_STEMS", "3")
    settings = load({"idle_timeout_s": "9"})
    assert (settings.idle_timeout_s, settings.stems, settings.freeze_after_s) == (9, 3, 10)


def test_children_read_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that a child process is given make the very settings of its parent."""
    settings = load(
        {
            "runtime_images": "python3.13=registry:5000/py,nodejs20.x=node",
            "egress_allow": "10.1.0.0/16, 192.168.7.9/32",
            "hot_reload_roots": "/srv/apps, ~/src",
            "async_retry_delays_s": "0.5,2",
            "data_dir": "/tmp/a folder",
            "unsafe": "true",
            "alive_file": "/tmp/alive",
        }
    )
    for name, value in settings.to_environ().items():
        monkeypatch.setenv(name, value)
    assert load({}) == settings
    assert settings.runtime_images == {"python3.13": "registry:5000/py", "nodejs20.x": "node"}
    assert settings.egress_allow == ("10.1.0.0/16", "192.168.7.9/32")
    assert settings.hot_reload_roots == (Path("/srv/apps"), Path("~/src").expanduser())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"port": "x"}, "--port: input should be a valid integer"),
        ({"port": "65536"}, "--port: input should be less than or equal to 65535 (got '65536')"),
        ({"sandbox": "chroot"}, "--sandbox: input should be 'auto', 'docker' or 'process' (got 'chroot')"),
        ({"idle_timeout_s": "-1"}, "--idle-timeout-s: input should be greater than or equal to 0"),
        ({"redis": "localhost:6379"}, "--redis: must be a URL like redis://"),
        ({"objects": "/var/objects"}, "--objects: must be a URL like file:///"),
        ({"public_url": "gateway:4566"}, "--public-url: must be a URL like http://"),
        ({"runtime_images": "ruby3.3=x"}, "--runtime-images: 'ruby3.3' is not a runtime"),
        ({"runtime_images": "python3.13"}, "--runtime-images: must look like"),
        ({"runtime_images": "{1}"}, "--runtime-images: is not a JSON object"),
        ({"egress_allow": "10.0.0.1/8"}, "--egress-allow: 10.0.0.1/8 has host bits set"),
        ({"hot_reload_roots": "/srv,apps"}, "--hot-reload-roots: apps is not an absolute path"),
        ({"async_retry_delays_s": ""}, "--async-retry-delays-s: takes 1 to 8 delays"),
        ({"async_retry_delays_s": "1,-1"}, "--async-retry-delays-s: takes 1 to 8 delays"),
        ({"account": "1"}, "--account: string should match pattern"),
        ({"region": "nowhere"}, "--region: string should match pattern"),
        ({"host": "0.0.0.0"}, "host 0.0.0.0 can be reached from outside"),
        ({"host": "192.168.1.5"}, "Use 127.0.0.1, or say --unsafe"),
    ],
)
def test_what_is_not_acceptable_is_one_line(given: Mapping[str, str], says: str) -> None:
    """The line names the flag and says what it wants."""
    with pytest.raises(SettingsError) as caught:
        load(given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who set a variable is told of the variable, not of a flag that was not given."""
    monkeypatch.setenv("LAMBENT_STEMS", "99")
    with pytest.raises(SettingsError, match=r"^LAMBENT_STEMS: input should be less than or equal to 64"):
        load({})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_no_leave(host: str) -> None:
    """Every address of this machine alone is fine."""
    assert load({"host": host}).host == host


def test_unsafe_lets_others_in() -> None:
    """Whoever says so may listen anywhere; workers of this machine still call the gateway on loopback."""
    settings = load({"host": "0.0.0.0", "unsafe": "true", "port": "80"})
    assert settings.of_public_url() == "http://127.0.0.1:80"


@pytest.mark.parametrize("name", every_setting())
def test_every_setting_is_described_and_a_flag_of_up(name: str) -> None:
    """`lambent up --help` shows each with its variable."""
    assert Settings.model_fields[name].description
    module, _, attribute = COMMANDS["up"].target.partition(":")
    up: click.Command = getattr(importlib.import_module(module), attribute)
    text = CliRunner().invoke(up, ["--help"], terminal_width=200).output
    assert f"{flag(name)} " in text
    assert f"LAMBENT_{name.upper()}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded(name: str) -> None:
    """An entry names a click command, which takes each of its flags once and has a line of help."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    command: Any = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    flags = [option for parameter in command.params for option in parameter.opts]
    assert len(flags) == len(set(flags))
    assert command.help
    assert COMMANDS[name].help


def test_a_command_ends_with_status_2() -> None:
    """A setting that is not acceptable ends the process before it did anything."""

    @click.command()
    @with_settings("port")
    def show(settings: Settings) -> None:
        click.echo(settings.port)

    assert CliRunner().invoke(show, ["--port", "80"]).output == "80\n"
    result = CliRunner().invoke(show, ["--port", "many"])
    assert result.exit_code == 2
    assert "--port" in result.output
