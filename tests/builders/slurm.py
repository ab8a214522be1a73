"""A Slurm of two nodes on this machine, for tests: its own keys, ports and folders, on loopback; all of it ends with the test."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

NODES = ("cdpd1", "cdpd2")
CPUS = 4  # of each node, whatever the machine has
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
_SBIN = os.pathsep.join(("/usr/sbin", "/usr/local/sbin"))
_GONE = (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired)  # what is being stopped may be gone already
_SOON = 2  # seconds
_SECONDS = 25  # that it may take to be ready

CONF = """
ClusterName=cdpdtest
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=3
MinJobAge=600
InactiveLimit=0
SlurmdTimeout=30
SwitchType=switch/none
SlurmdParameters=config_overrides
{nodes}
PartitionName=normal Nodes={names} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={names} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why no Slurm can be started here; None: it can."""
    if sys.platform != "linux":
        return "Slurm runs on Linux"
    if os.geteuid() != 0:
        return "only root can start a Slurm of its own"
    lacking = [program for program in _PROGRAMS if _which(program) is None]
    return f"no {', '.join(lacking)} here: apt-get install slurm-wlm munge" if lacking else None


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), _SBIN)))


class Slurm:
    """A running cluster; its commands find it by SLURM_CONF.

    environment: With which a process talks to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._processes: list[subprocess.Popen[bytes]] = []

    def call(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        for name in ("munge", "state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(mode=0o755, parents=True)
        key = self.folder / "munge/key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        ports = _free_ports(1 + len(NODES))
        here = f"NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory=2000 State=UNKNOWN"
        nodes = "\n".join(f"NodeName={node} Port={port} {here}" for node, port in zip(NODES, ports[1:]))
        conf = CONF.format(folder=self.folder, controller_port=ports[0], nodes=nodes, names=",".join(NODES))
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={_cgroup_plugin()}\n")
        munge = [f"--{name}={self.folder}/munge/{name}" for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")]
        munge[0] = f"--key-file={key}"
        self._start("munged", "--foreground", "--force", "--num-threads=2", *munge)
        _wait_for(lambda: (self.folder / "munge/socket").exists(), "munged")
        self._start("slurmctld", "-D", "-c", "-f", self.environment["SLURM_CONF"])
        for node in NODES:
            self._start("slurmd", "-D", "-c", "-N", node, "-f", self.environment["SLURM_CONF"])
        ready = ["idle", str(len(NODES))]
        _wait_for(lambda: self.call("sinfo", "-h", "-p", "normal", "-o", "%T %D", check=False).split() == ready, "nodes")

    def _start(self, program: str, *arguments: str) -> None:
        path = _which(program)
        assert path is not None
        with open(self.folder / f"{program}.out", "ab") as output:
            self._processes.append(
                subprocess.Popen([path, *arguments], env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
            )

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        with suppress(*_GONE):
            self.call("scancel", "--user=root", "--signal=KILL", "--full", check=False)
            self.call("scancel", "--user=root", check=False)
            _wait_for(lambda: not self.call("squeue", "--noheader", check=False).strip(), "end of jobs", seconds=15)
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for path in Path("/proc").glob("[0-9]*/environ"):  # what slurmstepd left
            with suppress(*_GONE):
                if f"SLURM_CONF={self.folder}/slurm.conf".encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def states(self, job: str) -> set[str]:
        """Of a job that is known to the controller, or of all of its array: PENDING, RUNNING, COMPLETED, FAILED, ..."""
        return set(re.findall(r"JobState=(\w+)", self.call("scontrol", "show", "job", job)))

    def state(self, job: str) -> str:
        (state,) = self.states(job)
        return state

    def hurry(self) -> None:
        """Let jobs that are started again begin soon; Slurm lets them wait.

        Not at once: in the second in which a job was stopped its node takes a new start for the old one, and refuses it.
        """
        soon = datetime.now() + timedelta(seconds=_SOON)
        for line in self.call("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i %r", check=False).splitlines():
            job, _, reason = line.partition(" ")
            if reason == "BeginTime" and any(time > soon for time in self._may_start(job)):
                self.call("scontrol", "update", f"jobid={job}", f"StartTime=now+{_SOON}", check=False)

    def _may_start(self, job: str) -> list[datetime]:
        """When a job, or those of an array, may start."""
        told = self.call("scontrol", "show", "job", job, check=False)
        return [datetime.fromisoformat(time) for time in re.findall(r"EligibleTime=(\d\S+)", told)]

    def wait(self, *jobs: str, state: str | None = None, seconds: float = 60) -> None:
        """Until jobs have a state, or have ended."""
        running = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED"}

        def are_there() -> bool:
            self.hurry()
            return all((self.state(job) == state) if state else (self.states(job).isdisjoint(running)) for job in jobs)

        _wait_for(are_there, f"{jobs} {state or 'ended'}", seconds)


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """A cluster in a new folder of a short name (a socket's path has at most 107 letters)."""
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def _wait_for(is_so: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(0.1)


def _cgroup_plugin() -> str:
    """None at all, which Slurm before 23.02 spells as one that does nothing unless it is asked to."""
    version = subprocess.run([str(_which("slurmd")), "-V"], capture_output=True, text=True).stdout
    return "cgroup/v1" if (found := re.search(r"(\d+)\.\d+", version)) and int(found[1]) < 23 else "disabled"


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
