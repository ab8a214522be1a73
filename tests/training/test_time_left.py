"""What a training says of the time that is left."""

import pytest

from nnunetv2_cdpd.training.time_left import TimeLeft, about


def test_time_left_is_said_from_the_first_iteration_on_and_counts_what_comes_after():
    now, lines = [0.0], []
    time_left = TimeLeft(100, afterwards=20, say=lines.append, clock=lambda: now[0])
    now[0] = 6.0  # the first iteration warms up
    time_left.step()
    assert lines == ["1 of 100 iterations, 6 s each: about 12 min left for all steps"]  # 6 * (99 + 20) s
    for _ in range(99):
        now[0] += 2.0
        time_left.step()
    assert lines[1:] == [
        "10 of 100 iterations, 2 s each: about 4 min left for all steps",  # 2 * (90 + 20) s; the first one no longer counts
        "50 of 100 iterations, 2 s each: about 2 min left for all steps",
        "100 of 100 iterations, 2 s each: about 40 s left for all steps",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "about 10 s"), (38, "about 40 s"), (94, "about 90 s"), (95, "about 2 min"), (400, "about 7 min")]
)
def test_durations_are_rounded(seconds, said):
    assert about(seconds) == said
