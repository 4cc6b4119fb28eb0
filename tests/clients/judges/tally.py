"""What a judge says: how much it looked at, how much of that was good, and what was not."""

import asyncio
import dataclasses
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


@dataclasses.dataclass
class Tally:
    """`failures` are all that was not passed; those of them that differ on purpose say so themselves."""

    passed: int = 0
    failures: list = dataclasses.field(default_factory=list)
    skipped: str = ""

    @property
    def total(self):
        return self.passed + len(self.failures)

    def worse_than(self, passed, total):
        """What is worse than these figures of an earlier run, or nothing."""
        if self.passed < passed:
            return f"{self.passed} passed, {passed} did before"
        if len(self.failures) > total - passed:
            return f"{len(self.failures)} failed, {total - passed} did before"
        return ""

    def good(self, count=1):
        self.passed += count

    def bad(self, name, why):
        self.failures.append(f"{name}: {' '.join(str(why).split())[:300]}")

    def check(self, name, act):
        """Counts `act()`: good unless it raises or gives False."""
        try:
            value = act()
            if value is False:
                raise AssertionError("not as expected")
        except Exception as why:  # a judge's word, whatever it is
            self.bad(name, f"{type(why).__name__}: {why}")
            return None
        self.good()
        return value

    async def check_async(self, name, act):
        try:
            value = await asyncio.wait_for(act(), 60)
            if value is False:
                raise AssertionError("not as expected")
        except Exception as why:
            self.bad(name, f"{type(why).__name__}: {why}")
            return None
        self.good()
        return value


def tool(name):
    """A program of the judges' environment."""
    return str(pathlib.Path(sys.executable).parent / name)
