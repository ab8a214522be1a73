"""Jobs for spawned processes, which import what they run by name: a test file has a name that only pytest knows."""

import os


def square_or_die(number):
    if number == 3:
        os._exit(1)
    if number == 4:
        raise ValueError("four")
    if number >= 9:
        os.kill(os.getpid(), number)
    return number**2
