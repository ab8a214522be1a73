"""run_jobs: no job stops the others, not even by taking its process along."""

import os

from nnunetv2_cdpd.jobs import run_jobs


def square_or_die(number):
    if number == 3:
        os._exit(1)
    if number == 4:
        raise ValueError("four")
    return number**2


def test_raising_job_stops_no_other_in_this_process():
    outcomes = dict(run_jobs(square_or_die, [1, 4, 2], num_processes=1))
    assert (outcomes[1], outcomes[2], str(outcomes[4])) == (1, 4, "four")


def test_dying_job_stops_no_other_process():
    outcomes = dict(run_jobs(square_or_die, [1, 2, 3, 4, 5], num_processes=2))
    assert (outcomes[1], outcomes[2], outcomes[5]) == (1, 4, 25)
    assert isinstance(outcomes[4], ValueError)
    assert "its process died" in str(outcomes[3])
