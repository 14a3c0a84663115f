"""What a deployment has to do, decided from what is wanted, what is there and what was made before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lambent.cli.deploy_template import by_path, here
from lambent.errors import SpecError
from lambent.template.graph import Resource
from lambent.template.plan import (
    Change,
    Desired,
    Existing,
    Plan,
    PlanError,
    Step,
    decide,
    details,
    differences,
    removals,
    shown,
    shown_change,
)
from lambent.template.record import Recorded, StackRecord
from lambent.template.samconfig import SamConfig, read_samconfig
from lambent.template.values import Map, Place, Unknown

RESOURCE = Resource("Q", "AWS::SQS::Queue", Map(), Place("Q"))


def recorded(name: str = "q", **more: Any) -> Recorded:
    """A queue that the stack made."""
    return Recorded("Q", "AWS::SQS::Queue", {"QueueName": name}, **{"state": "made", **more})


def existing(name: str = "q", owner: tuple[str, str] | None = ("s", "Q"), **settings: Any) -> Existing:
    """A queue that is there."""
    return Existing({"QueueName": name}, {"Delay": 0, "Fifo": False, **settings}, {"": "url"}, owner)


def desired(name: Any = "q", **settings: Any) -> Desired:
    """A queue that the template wants."""
    return Desired({"QueueName": name}, {"Delay": 0, "Fifo": False, **settings})


def decision(wanted: Desired, there: Existing | None, before: Recorded | None, **more: Any) -> Step:
    """Decide with `Fifo` as what cannot be changed."""
    return decide(RESOURCE, wanted, there, before, fixed=frozenset({"Fifo"}), stack="s", **more)


@pytest.mark.parametrize(
    ("wanted", "there", "before", "action", "changes"),
    [
        (desired(), None, None, "create", []),
        (desired(), None, recorded(), "create", []),
        (desired(), None, recorded(state="making"), "create", []),
        (desired(), existing(), recorded(), "none", []),
        (desired(), existing(), recorded(state="making"), "none", []),
        (desired(Delay=5), existing(), recorded(), "update", [Change("Delay", 0, 5)]),
        (desired(Fifo=True), existing(), recorded(), "replace", [Change("Fifo", False, True)]),
        (desired("other"), existing(), recorded(), "replace", [Change("QueueName", "q", "other")]),
        (desired(Unknown("u")), existing(), recorded(), "none", []),
        (desired(Delay=Unknown("u")), existing(), recorded(), "update", [Change("Delay", 0, Unknown("u"))]),
        (desired(), existing(Tag="x"), recorded(), "update", [Change("Tag", "x", None)]),
        (desired(), existing(), None, "update", []),
    ],
)
def test_each_case_has_its_action(
    wanted: Desired, there: Existing | None, before: Recorded | None, action: str, changes: list[Change]
) -> None:
    """Made, changed, replaced or left as it is; a resource with the stack's own tags is taken back."""
    step = decision(wanted, there, before)
    assert (step.action, list(step.changes)) == (action, changes)


@pytest.mark.parametrize("owner", [None, ("s", "Other"), ("other", "Q")])
def test_what_others_made_is_not_touched(owner: tuple[str, str] | None) -> None:
    """It is an error in the plan, before anything is done, unless it is to be taken over."""
    with pytest.raises(PlanError, match="Q: AWS::SQS::Queue q is there already, and this stack did not make it"):
        decision(desired(), existing(owner=owner), None)
    assert decision(desired(), existing(owner=owner), None, adopt=True).action == "update"
    assert decision(desired(), existing(owner=owner), recorded()).action == "none"


def test_optional_settings_count_only_where_they_are_wanted() -> None:
    """What the platform chose by itself is no difference; nothing and empty are the same."""
    there = {"A": 1, "B": "chosen", "C": "", "D": []}
    assert differences(there, {"A": 1}, optional=frozenset({"B"})) == []
    assert differences(there, {"A": 1}) == [Change("B", "chosen", None)]
    assert differences(there, {"A": 1, "B": "x"}, optional=frozenset({"B"})) == [Change("B", "chosen", "x")]
    assert differences(there, {"A": 1, "B": "chosen", "E": {"x": Unknown("y")}}) != []


def test_what_is_gone_from_the_template_goes_before_what_it_needs() -> None:
    """A mapping before its function and its queue, what was replaced before all of them; what is retained stays."""
    record = StackRecord("s")
    for name, needs in (("Queue", []), ("Function", ["Queue"]), ("Mapping", ["Queue", "Function"]), ("Kept", [])):
        record.resources[name] = Recorded(name, "T", {"n": name}, "made", list(needs), retain=name == "Kept")
    record.leaving.append(Recorded("Old", "T", {"n": "old"}))
    steps = removals(record, ["Queue"])
    assert [(step.logical_id, step.action) for step in steps] == [
        ("Old", "delete"),
        ("Mapping", "delete"),
        ("Kept", "leave"),
        ("Function", "delete"),
    ]
    assert [step.logical_id for step in removals(record, ())][-1] == "Queue"


def test_a_record_comes_back_as_it_was_kept() -> None:
    """Nothing of it is lost on its way over JSON."""
    record = StackRecord("s", {"Q": recorded(needs=["A"], retain=True, facts={"settings": {"a": 1}})}, [recorded("x")])
    record.outputs, record.complete = {"Url": "u"}, True
    assert StackRecord.from_api("s", record.to_api(), 0) == record


def test_values_are_shown_short_and_without_secrets() -> None:
    """NoEcho parameters are hidden wherever they went."""
    assert shown("my-password-1", frozenset({"password"})) == "my-****-1"
    assert shown({"a": "password"}, frozenset({"password"})) == '{"a": "****"}'
    assert shown(None) == shown("") == "(none)"
    assert len(shown("x" * 1000)) == 100
    assert shown(Unknown("Q.Arn")) == "(known after deploy: Q.Arn)"


def test_what_a_secret_replaces_is_hidden_too() -> None:
    """The value before is no longer known as a secret, and was one."""
    secrets = frozenset({"new-one"})
    assert shown_change(Change("P", "old-one", "new-one"), secrets) == ("****", "****")
    assert shown_change(Change("P", {"a": "old-one"}, {"a": "new-one"}), secrets) == ("****", '{"a": "****"}')
    assert shown_change(Change("P", None, "new-one"), secrets) == ("(none)", "****")
    assert shown_change(Change("P", "one", "two"), secrets) == ("one", "two")


def test_changes_within_a_mapping_are_shown_one_by_one() -> None:
    """What is the same in it is not repeated; where one side has nothing, the whole is shown."""
    change = Change("P", {"a": 1, "b": {"c": 2, "d": 3}, "e": 4}, {"a": 1, "b": {"c": 5, "d": 3}, "f": 6})
    assert details(change) == [Change("P.b.c", 2, 5), Change("P.e", 4, None), Change("P.f", None, 6)]
    assert details(Change("P", {}, {"a": 1})) == [Change("P", {}, {"a": 1})]
    assert details(Change("P", 1, 2)) == [Change("P", 1, 2)]


def test_a_plan_counts_what_it_does() -> None:
    """Steps that change nothing are not changes."""
    plan = Plan([Step("none", "A", "T", "a"), Step("create", "B", "T", "b")])
    assert (plan.changes_anything, plan.count("none"), plan.count("create")) == (True, 1, 1)
    assert not Plan([Step("none", "A", "T", "a")]).changes_anything


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", SamConfig()),
        ('[default.deploy.parameters]\nstack_name = "a"\n', SamConfig("a")),
        ('[default.global.parameters]\nstack_name = "a"\n', SamConfig("a")),
        (
            '[default.deploy.parameters]\nstack_name = "a"\nparameter_overrides = "A=\\"x y\\" B=z"\n',
            SamConfig("a", {"A": "x y", "B": "z"}),
        ),
        ('[default.deploy.parameters]\nparameter_overrides = ["A=x", "B=y"]\n', SamConfig(None, {"A": "x", "B": "y"})),
        (
            '[default.deploy.parameters]\nparameter_overrides = "ParameterKey=A,ParameterValue=x"\n',
            SamConfig(None, {"A": "x"}),
        ),
        ("[default.deploy.parameters.parameter_overrides]\nA = 1\n", SamConfig(None, {"A": "1"})),
        ('default = "odd"\n', SamConfig()),
    ],
)
def test_samconfig_says_name_and_parameters(tmp_path: Path, text: str, expected: SamConfig) -> None:
    """In each of the forms that SAM writes."""
    (tmp_path / "samconfig.toml").write_text(text)
    assert read_samconfig(tmp_path) == expected


def test_a_wrong_samconfig_is_said(tmp_path: Path) -> None:
    """Not TOML, no such environment, no such file for one that was asked for."""
    with pytest.raises(SpecError, match=r"there is no samconfig\.toml"):
        read_samconfig(tmp_path, "prod")
    (tmp_path / "samconfig.toml").write_text("= nope")
    with pytest.raises(SpecError, match="cannot be read"):
        read_samconfig(tmp_path)
    (tmp_path / "samconfig.toml").write_text("[default]\n")
    with pytest.raises(SpecError, match="has no environment 'prod'"):
        read_samconfig(tmp_path, "prod")


def test_outputs_with_aws_hosts_are_shown_as_they_are_here() -> None:
    """Templates write the hosts of APIs themselves; nobody here answers to those."""
    assert here("https://ab12.execute-api.us-east-1.amazonaws.com/Prod/x", "http://127.0.0.1:4566") == (
        "http://ab12.execute-api.us-east-1.localhost:4566/Prod/x"
    )
    assert here("wss://ab12.execute-api.us-east-1.amazonaws.com/p", "https://box") == (
        "wss://ab12.execute-api.us-east-1.localhost/p"
    )
    assert here("arn:aws:x", "http://127.0.0.1:4566") == "arn:aws:x"
    assert by_path("https://ab12.execute-api.us-east-1.amazonaws.com/Prod/x", "http://127.0.0.1:4566") == (
        "http://127.0.0.1:4566/_api/ab12/Prod/x"
    )
    assert by_path("http://ab12.execute-api.us-east-1.localhost:4566", "http://h:1") == "http://h:1/_api/ab12"
    assert by_path("ws://ab12.execute-api.us-east-1.localhost:4566/live", "http://h:1") is None
    assert by_path("arn:aws:x", "http://h:1") is None
