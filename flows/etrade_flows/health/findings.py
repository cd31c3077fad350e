"""What a check finds, in words that are safe to show in public. Pure.

A finding holds no secret, no path, no host and no account: where a value is at fault, it names the variable,
the setting or the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Health(StrEnum):
    """How a check came out, in one word."""

    OK = "ok"
    """Nothing to do."""
    WARNING = "warning"
    """Works, and may surprise somebody."""
    PROBLEM = "problem"
    """Renewals fail or will fail."""
    SKIPPED = "skipped"
    """Nobody can say: what the check needs is missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        verdict: The one word.
        says: What is so, as one sentence.
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
    """A finding that asks for nothing."""
    return Finding(Health.OK, says)


def warning(says: str, remedy: str) -> Finding:
    """A finding that a person should know of."""
    return Finding(Health.WARNING, says, remedy)


def problem(says: str, remedy: str) -> Finding:
    """A finding that a person must fix."""
    return Finding(Health.PROBLEM, says, remedy)


def find(name: str, check: Callable[[], Finding]) -> Finding:
    """What the check found, whatever happens in it.

    An exception becomes a finding with the name of its class alone: its text may hold a secret or an address.
    """
    try:
        finding = check()
    except SkipCheck as skipped:
        finding = Finding(Health.SKIPPED, skipped.says, skipped.remedy)
    except Exception as error:  # noqa: BLE001  # one check's failure must not stop the others
        finding = problem(
            f"This check failed by itself ({type(error).__name__}).",
            "run `etrade-session doctor` again; if it stays so, report it with this page.",
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
    """The findings as a person reads them: checks that were skipped for one reason are one finding, the last.

    Where the server is down, most of them are.
    """
    read = [finding for finding in findings if finding.verdict is not Health.SKIPPED]
    for remedy in dict.fromkeys(each.remedy for each in findings if each.verdict is Health.SKIPPED):
        alike = [each for each in findings if each.verdict is Health.SKIPPED and each.remedy == remedy]
        if len(alike) == 1:
            read += alike
            continue
        names = ", ".join(each.check for each in alike)
        read.append(Finding(Health.SKIPPED, f"Not looked at: {names}.", remedy, f"{len(alike)} checks"))
    return read


def as_object(credentials: str, findings: list[Finding]) -> dict[str, Any]:
    """The report as an object for other programs. Its keys stay as they are."""
    keys = ("check", "verdict", "says", "remedy")
    return {
        "credentials": credentials,
        "healthy": not has_problem(findings),
        "findings": [{key: str(getattr(finding, key)) for key in keys} for finding in findings],
    }
