"""TimeLeft: says during a training how long it and what comes after it will still take, from the first iteration on."""

import time
from collections.abc import Callable


class TimeLeft:
    """Told of every iteration, it says what is left: after the first, the tenth and every fiftieth.

    The first iteration warms up and is left out of the mean as soon as there are others.

    Args:
        iterations: Of the training.
        afterwards: What is done after the training, in iterations that would take as long.
        say: Gets a line.
        clock: Seconds.
    """

    def __init__(
        self, iterations: int, afterwards: float, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.iterations, self.afterwards = iterations, afterwards
        self.say, self.clock = say, clock
        self.done = 0
        self._started = clock()
        self._warm = self._started

    def step(self) -> None:
        """An iteration is done."""
        self.done += 1
        now = self.clock()
        seconds = now - self._started if self.done == 1 else (now - self._warm) / (self.done - 1)
        if self.done == 1:
            self._warm = now
        if self.done in (1, 10) or self.done % 50 == 0:
            left = seconds * (max(0, self.iterations - self.done) + self.afterwards)
            self.say(f"{self.done} of {self.iterations} iterations, {seconds:.2g} s each: {about(left)} left for all steps")


def about(seconds: float) -> str:
    """A duration as one says it."""
    return f"about {max(10, round(seconds, -1)):.0f} s" if seconds < 95 else f"about {seconds / 60:.0f} min"
