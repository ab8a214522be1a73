"""Schedule: how long the demo's steps that are left will take, judged by those that are done."""

from collections.abc import Mapping


class Schedule:
    """Steps in order, and what is left of them.

    Args:
        expected: Step -> seconds on a machine that was measured. Other machines are slower or faster by what the done steps say.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.expected = dict(expected)
        self.taken: dict[str, float] = {}

    def done(self, step: str, seconds: float) -> None:
        self.taken[step] = seconds

    def left(self) -> float:
        """Seconds of the steps that are not done."""
        rest = sum(seconds for step, seconds in self.expected.items() if step not in self.taken)
        reference = sum(self.expected[step] for step in self.taken)
        return rest * (sum(self.taken.values()) / reference if reference else 1.0)

    def place(self, step: str) -> str:
        """Where a step stands: "2 of 6"."""
        return f"{list(self.expected).index(step) + 1} of {len(self.expected)}"
