"""lambent.toml, templates and the connection."""

from pathlib import Path

import pytest

from lambent.connection import Connection, Credentials
from lambent.errors import SpecError
from lambent.scaffold import create, templates
from lambent.spec import FunctionSpec
from lambent.template.samconfig import read_samconfig
from lambent.template.stack import Environment, load_stack

EXAMPLES = Path(__file__).parents[2] / "examples"
STACK = Environment("s", "000000000000", "us-east-1")


def test_reads_the_file_and_lets_flags_win(tmp_path: Path) -> None:
    """Flags replace single values; environment variables are merged; None is no flag."""
    (tmp_path / "lambent.toml").write_text(
        'runtime = "python3.12"\nhandler = "a.b"\nmemory_mb = 256\n[environment]\nA = "1"\nB = "2"\n'
    )
    spec = FunctionSpec.read(tmp_path, {"memory_mb": 512, "timeout_s": None, "environment": {"B": "3"}})
    assert (spec.name, spec.runtime, spec.handler, spec.memory_mb, spec.timeout_s) == (
        tmp_path.name, "python3.12", "a.b", 512, 3,
    )  # fmt: skip
    assert spec.configuration()["Environment"] == {"Variables": {"A": "1", "B": "3"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('runtime = "python3.12"', "has no handler"),
        ('handler = "a.b"', "does not name a runtime"),
        ('runtime = "x"\nmemory = 1', "unknown key `memory`"),
        ('runtime = "x"\nmemory_mb = "1"', "`memory_mb` must be a whole number"),
        ('runtime = "x"\nmemory_mb = true', "`memory_mb` must be a whole number"),
        ('runtime = "x"\n[environment]\nA = 1', "`environment.A` must be text"),
        ("runtime = ", "cannot be read"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    """Each mistake is named, with the file that it is in."""
    (tmp_path / "lambent.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        FunctionSpec.read(tmp_path)


def test_needs_no_file_where_flags_say_it_all(tmp_path: Path) -> None:
    """A custom runtime needs no handler either."""
    assert FunctionSpec.read(tmp_path, {"runtime": "provided.al2023", "name": "n"}).handler == "bootstrap"
    with pytest.raises(SpecError, match=r"there is no lambent\.toml"):
        FunctionSpec.read(tmp_path)


@pytest.mark.parametrize("template", templates())
def test_every_template_can_be_deployed(tmp_path: Path, template: str) -> None:
    """What `init` makes has a complete description, its own name and the runtime asked for."""
    runtime = f"{template.partition('-')[0]}9"
    folder = tmp_path / "my-function"
    files = create(folder, template, runtime=runtime)
    if (folder / "template.yaml").is_file():
        stack = load_stack(folder / "template.yaml", STACK)
        functions = [each for each in stack.resources if each.type == "AWS::Lambda::Function"]
        assert {each.properties["Runtime"] for each in functions} == {runtime}
        assert all(list((folder / each.properties["Code"]).glob("*.*")) for each in functions)
    else:
        spec = FunctionSpec.read(folder)
        assert (spec.name, spec.runtime) == ("my-function", runtime)
    assert all(file.is_file() for file in files)
    with pytest.raises(SpecError, match="exists already"):
        create(folder, template)


def test_a_template_of_several_functions_is_named_by_its_stack(tmp_path: Path) -> None:
    """The name goes where SAM looks for it; a folder may be called anything."""
    create(tmp_path / "a folder", "python-queue", name="jobs-1")
    assert read_samconfig(tmp_path / "a folder").stack == "jobs-1"
    create(tmp_path / "another one", "python-queue")
    with pytest.raises(SpecError, match="'1x' is no name of a stack"):
        create(tmp_path / "x", "python-queue", name="1x")


@pytest.mark.parametrize("example", sorted(path.parent.name for path in EXAMPLES.glob("*/lambent.toml")))
def test_every_example_is_described(example: str) -> None:
    """An example is named as its folder, and says how to run it."""
    assert FunctionSpec.read(EXAMPLES / example).name == example
    assert (EXAMPLES / example / "README.md").is_file()


@pytest.mark.parametrize("example", sorted(path.parent.name for path in EXAMPLES.glob("*/template.yaml")))
def test_every_example_of_sam_is_a_stack(example: str) -> None:
    """Its template is read as it is, and it says how to run it."""
    assert load_stack(EXAMPLES / example / "template.yaml", STACK).resources
    assert (EXAMPLES / example / "README.md").is_file()


def test_connection_follows_aws_variables() -> None:
    """What is given counts most, then the service's own variable, then the general one, then the default."""
    env = {"AWS_ENDPOINT_URL": "http://a:1/", "AWS_DEFAULT_REGION": "eu-west-1"}
    assert Connection.find(environ={}).endpoint == "http://127.0.0.1:4566"
    assert Connection.find(environ=env).endpoint == "http://a:1"
    assert Connection.find(environ={**env, "AWS_ENDPOINT_URL_LAMBDA": "http://b:2"}).endpoint == "http://b:2"
    assert Connection.find(endpoint="http://c:3", environ=env).endpoint == "http://c:3"
    assert Connection.find(environ={**env, "AWS_REGION": "eu-west-2"}).region == "eu-west-2"
    with pytest.raises(SpecError, match="is not a URL"):
        Connection.find(endpoint="localhost:4566", environ={})


def test_signs_with_the_region_where_there_is_something_to_say() -> None:
    """Credentials sign; so does a region that was named; a bare request stays bare."""
    keys = {
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK",
        "AWS_SESSION_TOKEN": "T",
        "AWS_REGION": "eu-west-1",
    }
    connection = Connection.find(environ=keys)
    assert connection.credentials == Credentials("AK", "SK", "T")
    headers = connection.sign("lambda", "GET", "http://h/p", {"A": "b"}, b"")
    assert "Credential=AK/" in headers["Authorization"]
    assert "/eu-west-1/lambda/aws4_request" in headers["Authorization"]
    assert (headers["X-Amz-Security-Token"], headers["A"]) == ("T", "b")
    named = Connection.find(region="ap-south-1", environ={})
    assert "/ap-south-1/logs/aws4_request" in named.sign("logs", "POST", "http://h/", {}, b"")["Authorization"]
    assert Connection.find(environ={}).sign("lambda", "GET", "http://h/p", {"A": "b"}, b"") == {"A": "b"}


def test_reads_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_PROFILE names credentials and a region of AWS's shared files; one that is not there is said."""
    (tmp_path / "credentials").write_text("[dev]\naws_access_key_id = AK\naws_secret_access_key = SK\n")
    (tmp_path / "config").write_text("[profile dev]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "dev")
    found = Connection.find(environ={"AWS_PROFILE": "dev"})
    assert (found.region, found.credentials) == ("eu-north-1", Credentials("AK", "SK"))
    with pytest.raises(SpecError, match="absent"):
        Connection.find(environ={"AWS_PROFILE": "absent"})
