"""What a reader prints is heard in its thread, and stdout is there afterwards, whichever thread ends last."""

import sys
from threading import Event, Thread

from nnunetv2_cdpd.volumes.said import said_meanwhile


def test_threads_are_heard_each_by_itself_and_stdout_comes_back(capsys):
    stdout, both_in, first_out, found = sys.stdout, Event(), Event(), {}

    def first():
        with said_meanwhile() as said:
            both_in.wait(5)
            print("one")
        found["first"] = said.getvalue()
        first_out.set()

    def second():
        with said_meanwhile() as said:
            both_in.set()
            first_out.wait(5)  # ends last
            print("two")
        found["second"] = said.getvalue()

    threads = [Thread(target=first), Thread(target=second)]
    threads[0].start()
    while sys.stdout is stdout:
        pass
    print("beside")
    threads[1].start()
    for thread in threads:
        thread.join()
    print("after")
    assert found == {"first": "one\n", "second": "two\n"} and sys.stdout is stdout
    assert capsys.readouterr().out == "beside\nafter\n"
