"""``ssmc supports`` is the table of the folding rules, each with its constraint."""

from __future__ import annotations

from click.testing import CliRunner

from ssmc.cli import cli
from ssmc.passes.fold_quantization import EVERY, supported


def test_every_rule_is_listed_with_its_constraint() -> None:
    result = CliRunner().invoke(cli, ["supports"])
    assert result.exit_code == 0, result.output
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in result.output.splitlines() if " " in line.strip()}
    for domain, op in EVERY:
        name = f"{domain}::{op}" if domain else op
        assert listed[name].strip() == dict(supported())[name]


def test_every_rule_says_its_constraint_in_one_sentence() -> None:
    for (_, op), rule in EVERY.items():
        assert rule.__doc__, op
        assert rule.__doc__.splitlines()[0].endswith("."), op
