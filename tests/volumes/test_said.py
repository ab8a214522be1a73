"""What a reader prints is heard in its thread, and stdout is there afterwards, whichever thread ends last."""

import subprocess
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


def test_what_stands_in_for_stdout_stays_while_others_print():
    """`print` does not hold on to stdout: were the stand-in to go, a print of another thread could end the process."""
    with said_meanwhile():
        first = sys.stdout
    with said_meanwhile():
        assert sys.stdout is first
    assert sys.getrefcount(first) > 2, "held by more than this test"


def test_threads_that_read_and_print_at_once_end_well():
    """With a stand-in for each time, such a process ended by a segmentation fault."""
    code = (
        "import sys; sys.setswitchinterval(1e-6)\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from nnunetv2_cdpd.volumes.said import said_meanwhile\n"
        "def work(_):\n"
        "    for _ in range(8000):\n"
        "        with said_meanwhile(): pass\n"
        "        print('', end='')\n"
        "with ThreadPoolExecutor(6) as pool: list(pool.map(work, range(6)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
