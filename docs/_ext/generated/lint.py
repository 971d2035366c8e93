"""The rules of `pilotlight lint`."""

from itertools import groupby

from generated.markdown import code, paragraphs, table
from generator.lint.finding import Rule
from generator.lint.rules import RULES, SUBJECTS


def lint_rules() -> str:
    return paragraphs(
        *(
            paragraphs(f"## {SUBJECTS[subject]}", _table(list(rules)))
            for subject, rules in groupby(RULES, key=lambda rule: rule.code[:3])
        )
    )


def _table(rules: list[Rule]) -> str:
    return table(
        ["Code", "Name", "Severity", "Why", "Remedy"],
        ([code(rule.code), rule.name, rule.severity, rule.why, rule.remedy] for rule in rules),
    )
