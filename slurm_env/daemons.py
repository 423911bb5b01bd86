"""The cluster's daemons: in which order they start, when each is ready, how each is stopped.

munge (who are you?) -> MariaDB -> slurmdbd (accounting) -> slurmctld (the controller) -> slurmd on
every node. All run in the foreground as children of the supervisor, which therefore knows at once
when one has died. Every wait is bounded and names the log to read.
"""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from slurm_env import config
from slurm_env.hosts import Host, build_switch
from slurm_env.processes import ClusterError, last_lines, run, wait_until

FOLDERS = ("etc", "log", "run", "state", "spool", "scratch", "munge", "db")
Progress = Callable[[str], None]


class Daemons:
    """All daemons of one cluster, owned by the supervisor's main thread."""

    def __init__(self, spec: config.ClusterSpec, environment: dict[str, str]) -> None:
        self.spec = spec
        self.root = Path(spec.root)
        self.environment = environment | {
            "SLURM_CONF": f"{spec.root}/etc/slurm.conf",
            "MYSQL_UNIX_PORT": f"{spec.root}/db/mysqld.sock",
        }
        self.children: dict[str, subprocess.Popen] = {}
        self.hosts = {name: Host(name, spec) for name in spec.node_names}

    # --- starting -------------------------------------------------------------------------------

    def ensure(self, progress: Progress) -> None:
        """Start whatever does not run, in order, and wait until every node is usable.

        Raises:
            ClusterError: a daemon did not come up; names its log.
        """
        for name, child in self.children.items():
            if child.poll() is not None:
                progress(f"{name} had ended with code {child.returncode}")
        if self.spec.sealed and run(["ip", "link", "show", "br0"]).returncode:
            build_switch()
        self._start_munge(progress)
        if self.spec.accounting:
            self._start_mariadb(progress)
            self._start_slurmdbd(progress)
        self._start_slurmctld(progress)
        # Nodes last: a slurmd that finds no controller asks again only seconds later.
        for host in self.hosts.values():
            self.power_on(host)
        self._wait_for_nodes(progress)

    def power_on(self, host: Host) -> None:
        """Switch a host on; a host that ran before has lost its jobs, and SLURM is told so.

        Elsewhere SLURM sees that by a newer boot time; hosts here share the machine's. Without
        this, a node that returns before it was missed would leave its jobs waiting for ever.
        """
        if host.running:
            return
        if host.ran_before:
            host.power_off()  # in loopback mode tasks may have outlived a killed slurmd
            down = ["scontrol", "update", f"nodename={host.name}", "state=down", "reason=power-cut"]
            run(down, env=self.environment)
        (self.root / "scratch" / host.name).mkdir(exist_ok=True)
        host.power_on(self.environment)

    def running(self, name: str) -> bool:
        child = self.children.get(name)
        return child is not None and child.poll() is None

    def spawn(self, name: str, command: list[str]) -> None:
        if self.spec.mode == "rootless":
            command = ["setpriv", "--ambient-caps=-all", "--inh-caps=-all", *command]
        elif not self.spec.sealed:
            # No namespace ends the daemons with a killed supervisor, so the kernel is asked to.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.spec.logs / f"{name}.out").open("ab") as log:
            self.children[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for(
        self, name: str, ready: Callable[[], bool], *, log: str, timeout_s: float
    ) -> None:
        child = self.children[name]
        wait_until(
            lambda: child.poll() is not None or ready(),
            timeout_s=timeout_s,
            what=f"{name} to answer",
            log=self.spec.logs / log,
        )
        if child.poll() is not None:
            path = self.spec.logs / log
            raise ClusterError(
                f"{name} ended with code {child.returncode}. Log: {path}\n{last_lines(path)}"
            )

    def _start_munge(self, progress: Progress) -> None:
        if self.running("munged"):
            return
        key = self.root / "munge" / "munge.key"
        if not key.exists() or key.stat().st_size < 32:
            key.unlink(missing_ok=True)
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        socket = Path(self.spec.munge_socket)
        socket.unlink(missing_ok=True)
        munge = self.root / "munge"
        self.spawn(
            "munged",
            # --force: the folder is closed to other users (mode 700), which munged warns about.
            ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}"]
            + [f"--pid-file={munge}/munged.pid", f"--seed-file={munge}/munged.seed"]
            + [f"--log-file={self.root}/log/munged.log"],
        )
        self._wait_for(
            "munged",
            lambda: run(["munge", "-n", f"--socket={socket}"]).returncode == 0,
            log="munged.out",
            timeout_s=10,
        )
        progress("munge answers")

    def _start_mariadb(self, progress: Progress) -> None:
        if self.running("mariadbd"):
            return
        if not (self.root / "db" / "data").exists():
            self._create_database(progress)
        (self.root / "db" / "mysqld.sock").unlink(missing_ok=True)
        self.spawn("mariadbd", ["mariadbd", f"--defaults-file={self.root}/db/my.cnf"])

    def _create_database(self, progress: Progress) -> None:
        """Create the database under a temporary name: a half-made one is never used."""
        half = self.root / "db" / "data.half"
        shutil.rmtree(half, ignore_errors=True)
        progress("first start: creating the accounting database")
        run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={half}", f"--user={self.spec.user}"]
            + ["--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            timeout_s=120,
        )
        half.rename(self.root / "db" / "data")

    def _mariadb(self, statement: str = "select 1;") -> bool:
        socket = self.root / "db" / "mysqld.sock"
        client = ["mariadb", "--no-defaults", "-S", str(socket), "-u", "root"]
        # On standard input: a command line, and a password in it, can be read by everybody.
        return socket.exists() and run(client, text=statement).returncode == 0

    def _start_slurmdbd(self, progress: Progress) -> None:
        self._wait_for("mariadbd", self._mariadb, log="mariadbd.log", timeout_s=60)
        if self.running("slurmdbd"):
            return
        password = _read_or_create_secret(self.root / "db" / "password")
        # Idempotent, so a first start that was killed half-way is made good by the next.
        account = "'slurm'@'localhost'"
        prepared = self._mariadb(
            "create database if not exists slurm_acct_db; "
            f"create or replace user {account} identified by '{password}'; "
            f"grant all on slurm_acct_db.* to {account};"
        )
        if not prepared:
            raise ClusterError(
                f"MariaDB refused the accounting user. Log: {self.spec.logs}/mariadbd.log"
            )
        progress("MariaDB answers")
        conf = self.root / "etc" / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(config.slurmdbd_conf(self.spec, password))
        self.spawn("slurmdbd", ["slurmdbd", "-D"])
        # A cluster that is not known yet is no fault: the question was answered.
        self._wait_for(
            "slurmdbd",
            lambda: self._sacctmgr("show", "cluster") is not None,
            log="slurmdbd.log",
            timeout_s=60,
        )
        self._create_accounts()
        progress("accounting answers")

    def _sacctmgr(self, *words: str) -> str | None:
        done = run(["sacctmgr", "-n", "-P", "-i", *words], env=self.environment)
        return done.stdout if done.returncode == 0 else None

    def _create_accounts(self) -> None:
        """Create account, user and QOS; a mark of their wording spares the next start."""
        wanted = hashlib.sha256(repr((config.QOS, config.ACCOUNT, self.spec.user)).encode())
        mark = self.root / "db" / "accounts"
        if mark.exists() and mark.read_text() == wanted.hexdigest():
            return
        commands = ["add cluster workshop", f"add account {config.ACCOUNT} Cluster=workshop"]
        commands += [f"add qos {name}" for name in config.QOS]
        commands += [f"modify qos {name} set {limits}" for name, limits in config.QOS.items()]
        commands += [
            f"add user {self.spec.user} account={config.ACCOUNT}",
            f"modify user {self.spec.user} set qos={','.join(config.QOS)} "
            f"defaultqos=learner defaultaccount={config.ACCOUNT}",
        ]
        for words in commands:
            done = run(["sacctmgr", "-i", *words.split()], env=self.environment)
            # sacctmgr answers 1 for "already there" and for "nothing to change".
            settled = "already exist" in done.stdout or "Nothing" in done.stdout + done.stderr
            if done.returncode and not settled:
                raise ClusterError(
                    f"`sacctmgr {words}` failed: {(done.stderr or done.stdout).strip()}. "
                    f"Log: {self.spec.logs}/slurmdbd.log"
                )
        mark.write_text(wanted.hexdigest())

    def _start_slurmctld(self, progress: Progress) -> None:
        if self.running("slurmctld"):
            return
        # -i: a damaged state file costs the jobs in it, not the class.
        self.spawn("slurmctld", ["slurmctld", "-D", "-i", "-f", f"{self.root}/etc/slurm.conf"])
        self._wait_for(
            "slurmctld",
            lambda: "is UP" in run(["scontrol", "ping"], env=self.environment).stdout,
            log="slurmctld.log",
            timeout_s=30,
        )
        progress("slurmctld answers")

    def _wait_for_nodes(self, progress: Progress) -> None:
        wanted = {name for name, host in self.hosts.items() if host.running and not host.link.cut}
        wait_until(
            lambda: wanted <= self.answering_nodes(),
            timeout_s=60,
            what=f"the nodes {', '.join(sorted(wanted))} to answer",
            log=self.spec.logs / "slurmctld.log",
        )
        progress(f"{len(wanted)} nodes are up")

    def answering_nodes(self) -> set[str]:
        """Names of the nodes that SLURM hears from, whatever work or maintenance they are in."""
        done = run(["sinfo", "-h", "-N", "-p", "main", "-o", "%N %T"], env=self.environment)
        lines = [line.split() for line in done.stdout.splitlines()]
        return {name for name, state in lines if node_answers(state)}

    # --- stopping -------------------------------------------------------------------------------

    def stop(self, progress: Progress) -> None:
        """Stop all in order: the controller (it saves the queue), nodes, accounting, munge."""
        self.stop_one("slurmctld")
        for host in self.hosts.values():
            host.power_off()
        self.stop_one("slurmdbd")
        self.stop_one("mariadbd")
        self.stop_one("munged")
        progress("all daemons stopped")

    def stop_one(self, name: str) -> None:
        child = self.children.pop(name, None)
        if child is None or child.poll() is not None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(timeout=5)


def node_answers(state: str) -> bool:
    """Whether a node in this state (sinfo's %T) is heard from: idle, planned, drained ..."""
    return not (state.endswith("*") or state.startswith(("down", "unknown")))


def write_configuration(spec: config.ClusterSpec) -> None:
    """Write every configuration file that holds no secret, each by rename."""
    root = Path(spec.root)
    for folder in FOLDERS:
        (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    texts = {
        "etc/slurm.conf": config.slurm_conf(spec),
        "etc/gres.conf": config.gres_conf(spec),
        "etc/cgroup.conf": config.cgroup_conf(spec),
        "etc/hosts": config.hosts_file(spec),
        config.EPILOG: config.epilog(),
        "db/my.cnf": config.mariadb_cnf(spec),
    }
    for name, text in texts.items():
        new = root / f"{name}.new"
        new.write_text(text)
        new.chmod(0o755 if name == config.EPILOG else 0o644)
        os.replace(new, root / name)


def _read_or_create_secret(path: Path) -> str:
    if not path.exists() or not path.read_text().strip():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text().strip()


def find_slurm() -> tuple[tuple[int, int], bool]:
    """Give the installed SLURM's (major, minor) and whether accounting can be had.

    Raises:
        ClusterError: SLURM itself or munge is not installed; says the line that installs it.
    """
    missing = [
        name
        for name in ("slurmctld", "slurmd", "srun", "sbatch", "munged")
        if not shutil.which(name)
    ]
    if missing:
        raise ClusterError(
            f"SLURM is not installed here (missing: {', '.join(missing)}). Remedy: "
            "sudo apt-get install -y --no-install-recommends "
            "slurm-wlm munge slurmdbd mariadb-server"
        )
    version = run(["slurmctld", "-V"], check=True).stdout.split()[1].split(".")
    database = all(shutil.which(name) for name in ("slurmdbd", "mariadbd", "mariadb-install-db"))
    return (int(version[0]), int(version[1])), database
