"""A check's finding, in words that are safe to post in public. Pure.

A finding contains no secret, path, host or account. If a value is wrong, it names the variable, the setting
or the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Health(StrEnum):
    """A check's result, in one word."""

    OK = "ok"
    """Nothing to do."""
    WARNING = "warning"
    """It works, but may surprise somebody."""
    PROBLEM = "problem"
    """Renewals fail or will fail."""
    SKIPPED = "skipped"
    """Unknown, because something that the check needs is missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        verdict: The one word.
        says: What the check found, as one sentence.
        remedy: The command or the screen that fixes it; empty if there is nothing to fix.
        check: The check's name.
    """

    verdict: Health
    says: str
    remedy: str = ""
    check: str = ""


class SkipCheck(Exception):
    """A check cannot be made until something else is fixed.

    Attributes:
        says: What is missing.
        remedy: What to fix first.
    """

    def __init__(self, says: str, *, first: str) -> None:
        super().__init__(says)
        self.says = says
        self.remedy = f"fix `{first}` first."


def ok(says: str) -> Finding:
    """A finding without a remedy."""
    return Finding(Health.OK, says)


def warning(says: str, remedy: str) -> Finding:
    """A finding that a person should know about."""
    return Finding(Health.WARNING, says, remedy)


def problem(says: str, remedy: str) -> Finding:
    """A finding that a person must fix."""
    return Finding(Health.PROBLEM, says, remedy)


def find(name: str, check: Callable[[], Finding]) -> Finding:
    """The check's finding, even if the check fails.

    An exception becomes a finding with only the name of its class: its text may contain a secret or an
    address.
    """
    try:
        finding = check()
    except SkipCheck as skipped:
        finding = Finding(Health.SKIPPED, skipped.says, skipped.remedy)
    except Exception as error:  # noqa: BLE001  # one check's failure must not stop the others
        finding = problem(
            f"This check itself failed ({type(error).__name__}).",
            "run `etrade-session doctor` again; if it fails again, report it with this page.",
        )
    return replace(finding, check=name)


def has_problem(findings: Iterable[Finding]) -> bool:
    """Whether something must be fixed."""
    return any(finding.verdict is Health.PROBLEM for finding in findings)


def summary(findings: Iterable[Finding]) -> str:
    """How many of each verdict, as a sentence."""
    counted = Counter(finding.verdict for finding in findings)
    return ", ".join(_counted(counted[health], health) for health in Health if counted[health]) + "."


def _counted(count: int, health: Health) -> str:
    plural = count > 1 and health in (Health.WARNING, Health.PROBLEM)
    return f"{count} {health}{'s' if plural else ''}"


def gathered(findings: list[Finding]) -> list[Finding]:
    """The findings as people read them: checks skipped for the same reason become one finding at the end.

    If the server is down, most checks are skipped.
    """
    read = [finding for finding in findings if finding.verdict is not Health.SKIPPED]
    for remedy in dict.fromkeys(each.remedy for each in findings if each.verdict is Health.SKIPPED):
        alike = [each for each in findings if each.verdict is Health.SKIPPED and each.remedy == remedy]
        if len(alike) == 1:
            read += alike
            continue
        names = ", ".join(each.check for each in alike)
        read.append(Finding(Health.SKIPPED, f"Not checked: {names}.", remedy, f"{len(alike)} checks"))
    return read


def as_object(credentials: str, findings: list[Finding]) -> dict[str, Any]:
    """The report as an object for other programs. Never change its keys."""
    keys = ("check", "verdict", "says", "remedy")
    return {
        "credentials": credentials,
        "healthy": not has_problem(findings),
        "findings": [{key: str(getattr(finding, key)) for key in keys} for finding in findings],
    }
