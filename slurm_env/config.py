"""The class cluster's configuration files as pure functions of a few facts.

Nothing here touches the machine: a `ClusterSpec` goes in, the text of slurm.conf and its companions
comes out, and the snapshot tests keep every line. What a line is for stands beside it, because
these files are the first that an administrator of a real site would show you.

Paths come from `ClusterSpec.root`, a short path without spaces (a symbolic link to the cluster
folder): SLURM splits unquoted values at spaces, and a unix socket's path may have 107 bytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

SUBNET = "10.77.0"
HEAD_ADDRESS = f"{SUBNET}.1"
JUPYTER_PORT_INSIDE = 8888
CPUS_PER_NODE = 4
# A promise as the CPUs are: a node's share of a small machine would not hold one rank of torch.
MEMORY_PER_NODE_MB = 4000
FAKE_GPUS_PER_NODE = 2
DEBUG_NODES = 2
MAX_NODES = 8
# The QOS limits that lessons run into, as sacctmgr writes them. `learner` holds a fifth running job
# and refuses a 21st; `burst` is served first but allows one running job of at most 10 minutes and,
# because of DenyOnLimit, refuses what can never run.
QOS = {
    "learner": "Priority=10 MaxJobsPerUser=4 MaxSubmitJobsPerUser=20",
    "burst": "Priority=100 MaxJobsPerUser=1 MaxTRESPerUser=node=2 MaxWall=00:10:00 "
    "Flags=DenyOnLimit",
}
ACCOUNT = "workshop"
EPILOG = "etc/epilog"
"""Where slurmd's script for the end of a job lies, under the cluster's root."""


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """What the configuration files depend on, and nothing else."""

    mode: str
    """rootless | root | loopback (see hosts.py)."""
    root: str
    """Short path to the cluster folder, without spaces."""
    user: str
    """The one user who owns the daemons and runs the jobs."""
    nodes: int
    """Number of compute nodes, 1 to 8."""
    accounting: bool
    """Whether slurmdbd and MariaDB run."""
    hostname: str = "head"
    """Name of the machine itself; loopback mode needs it, the other modes call it `head`."""
    loopback_address: str = "127.0.0.1"
    """Loopback mode: what the machine's own name resolves to (Debian: 127.0.1.1), because that is
    where a daemon binds that is told not to listen everywhere."""
    slurmctld_port: int = 6817
    slurmdbd_port: int = 6819
    slurmd_ports: tuple[int, ...] = ()
    """One free port per node; loopback mode only, where all nodes share an address."""
    slurm_version: tuple[int, int] = (22, 5)
    """(major, minor) of the installed SLURM: settings differ."""

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise ValueError(
                f"{self.nodes} nodes: the class cluster has 1 to {MAX_NODES}; choose --nodes N so"
            )
        if " " in self.root:
            raise ValueError(f"cluster root {self.root!r} has a space: SLURM would cut it there")

    @property
    def sealed(self) -> bool:
        """Whether hosts are namespaces with their own network."""
        return self.mode != "loopback"

    @property
    def binding(self) -> str:
        """Who binds to its own address only: all, but for one case of loopback mode.

        There srun is called back at 127.0.0.1 whatever the machine's name resolves to, so where
        that is another loopback address (127.0.1.1) only the controller can be bound; the rest is
        guarded by the private munge key alone.
        """
        elsewhere = self.loopback_address.startswith("127.") and (
            self.loopback_address != "127.0.0.1"
        )
        return "NoCtldInAddrAny" if elsewhere else "NoInAddrAny,NoCtldInAddrAny"

    @property
    def listening(self) -> str:
        """Where daemons listen, for `workshop status`."""
        if self.sealed:
            return "inside the cluster's own network only"
        if "NoInAddrAny" in self.binding:
            return f"at {self.loopback_address} only, guarded by a munge key of its own"
        return (
            f"slurmctld at {self.loopback_address} only, slurmd and srun at every address of this "
            "machine, guarded by a munge key of their own"
        )

    @property
    def node_names(self) -> list[str]:
        return [f"node{i}" for i in range(1, self.nodes + 1)]

    @property
    def logs(self) -> Path:
        """The folder of logs by its real path: the one to tell people, it outlives the cluster."""
        return Path(self.root).resolve() / "log"

    @property
    def controller(self) -> tuple[str, str]:
        """(host name, address) of slurmctld and slurmdbd."""
        return ("head", HEAD_ADDRESS) if self.sealed else (self.hostname, self.loopback_address)

    @property
    def munge_socket(self) -> str:
        return f"{self.root}/munge/munge.socket"


def node_address(name: str) -> str:
    """Give the address of `node3` in a sealed network."""
    return f"{SUBNET}.{10 + int(name.removeprefix('node'))}"


def hosts_file(spec: ClusterSpec) -> str:
    """/etc/hosts of every host of a sealed cluster: names resolve without a name server."""
    lines = ["127.0.0.1 localhost", f"{HEAD_ADDRESS} head"]
    lines += [f"{node_address(name)} {name}" for name in spec.node_names]
    return "\n".join(lines) + "\n"


def slurm_conf(spec: ClusterSpec) -> str:
    """slurm.conf: one file that the controller, every node and every command read."""
    host, address = spec.controller
    last = spec.nodes
    debug_last = min(DEBUG_NODES, last)
    lines = [
        "ClusterName=workshop",
        f"SlurmctldHost={host}({address})",
        f"SlurmctldPort={spec.slurmctld_port}",
        f"SlurmUser={spec.user}",
        f"SlurmdUser={spec.user}",
        "# A private munge socket: the machine's own munge, if any, is left alone. cred_expire is",
        "# also how long a requeued job waits before it starts again: longer than the 60 s after",
        "# which the controller repeats a message that its first life's node did not answer.",
        "AuthType=auth/munge",
        f"AuthInfo=socket={spec.munge_socket},cred_expire=70",
        "CredType=cred/munge",
        "# Bind to the own address only: nothing listens on the machine's other interfaces.",
        f"CommunicationParameters={spec.binding}",
        f"StateSaveLocation={spec.root}/state",
        f"SlurmdSpoolDir={spec.root}/spool/%n",
        f"SlurmctldPidFile={spec.root}/run/slurmctld.pid",
        f"SlurmdPidFile={spec.root}/run/slurmd-%n.pid",
        f"SlurmctldLogFile={spec.root}/log/slurmctld.log",
        f"SlurmdLogFile={spec.root}/log/slurmd-%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "MailProg=/bin/true",
        "MpiDefault=none",
        "SwitchType=switch/none",
        "# Nodes offer CPUs that the machine may not have, so tasks are not pinned to cores.",
        "SlurmdParameters=config_overrides",
        "TaskPlugin=task/none",
        "ProctrackType=proctrack/linuxproc",
        "# That follows children only; what a script left in the background ends by this script.",
        f"Epilog={spec.root}/{EPILOG}",
        "# A job over its memory is killed; PSS counts a library shared by ranks once.",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=2",
        "JobAcctGatherParams=UsePss,OverMemoryKill",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0",
        "# A silent node is down after 10 s; when it registers again it is used again.",
        "SlurmctldTimeout=30",
        "SlurmdTimeout=10",
        "ReturnToService=2",
        "# An srun that a crash of the controller outlived must not hold its nodes for ever.",
        "InactiveLimit=60",
        "# What a partition can never run is refused at once instead of waiting for ever.",
        "EnforcePartLimits=ALL",
        "JobRequeue=1",
        "KillWait=5",
        "UnkillableStepTimeout=30",
        "MinJobAge=600",
        "GresTypes=gpu",
    ]
    if spec.accounting:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            f"AccountingStorageHost={address}",
            f"AccountingStoragePort={spec.slurmdbd_port}",
            f"AccountingStoragePass={spec.munge_socket}",
            "AccountingStorageEnforce=associations,limits,qos",
            "AccountingStorageTRES=gres/gpu",
            "PriorityType=priority/multifactor",
            "PriorityWeightAge=100",
            "PriorityWeightFairshare=1000",
            "PriorityWeightQOS=1000",
        ]
    else:
        lines += [
            "AccountingStorageType=accounting_storage/none",
            "JobCompType=jobcomp/filetxt",
            f"JobCompLoc={spec.root}/log/jobcomp.log",
        ]
    shape = (
        f"CPUs={CPUS_PER_NODE} Sockets=1 CoresPerSocket={CPUS_PER_NODE} ThreadsPerCore=1 "
        f"RealMemory={MEMORY_PER_NODE_MB} Gres=gpu:{FAKE_GPUS_PER_NODE} State=UNKNOWN"
    )
    for i, name in enumerate(spec.node_names):
        if spec.sealed:
            where = f"NodeAddr={node_address(name)} NodeHostname={name}"
        else:
            where = f"NodeAddr={address} NodeHostname={spec.hostname} Port={spec.slurmd_ports[i]}"
        lines.append(f"NodeName={name} {where} {shape}")
    memory_per_cpu = MEMORY_PER_NODE_MB // CPUS_PER_NODE
    lines += [
        f"PartitionName=debug Nodes=node[1-{debug_last}] MaxTime=5 DefaultTime=5 "
        f"MaxNodes={DEBUG_NODES} PriorityTier=10 DefMemPerCPU={memory_per_cpu} State=UP",
        f"PartitionName=main Nodes=node[1-{last}] Default=YES MaxTime=60 DefaultTime=10 "
        f"PriorityTier=1 DefMemPerCPU={memory_per_cpu} State=UP",
    ]
    return "\n".join(lines) + "\n"


def gres_conf(spec: ClusterSpec) -> str:
    """gres.conf: two practice GPUs a node; they are fake, devices that exist everywhere."""
    return f"NodeName=node[1-{spec.nodes}] Name=gpu File=/dev/null,/dev/zero\n"


def cgroup_conf(spec: ClusterSpec) -> str:
    """cgroup.conf: no cgroups, which would need root; limits are kept by job accounting."""
    # From 23.11 on slurmd starts its cgroup plugin even where no setting uses it.
    return "CgroupPlugin=disabled\n" if spec.slurm_version >= (23, 11) else "CgroupAutomount=no\n"


def epilog() -> str:
    """The script that slurmd runs on each of a job's nodes at its end: nothing runs on.

    Without cgroups SLURM loses a process whose parent has ended (`sleep 600 &` in a script that
    goes on and ends). Its environment still tells job, node and cluster; that it has a rank tells
    it from a shell on the login node, which `salloc` also gives a job's number.
    """
    return r"""#!/bin/bash
PATH=/usr/bin:/bin
environments_with() { grep -lzxE -e "$1" "${@:2}" 2>/dev/null; }
mapfile -t found < <(environments_with "SLURM_JOB_ID=$SLURM_JOB_ID" /proc/[0-9]*/environ)
for fact in "SLURMD_NODENAME=$SLURMD_NODENAME" "SLURM_CONF=$SLURM_CONF" "SLURM_PROCID=[0-9]+"; do
    ((${#found[@]})) || exit 0
    mapfile -t found < <(environments_with "$fact" "${found[@]}")
done
for environment in "${found[@]}"; do
    pid=${environment#/proc/}
    kill -KILL "${pid%/environ}" 2>/dev/null
done
exit 0
"""


def slurmdbd_conf(spec: ClusterSpec, password: str) -> str:
    """slurmdbd.conf; `password` opens the private MariaDB, so the file is kept at mode 600."""
    host, address = spec.controller
    lines = [
        "AuthType=auth/munge",
        f"AuthInfo=socket={spec.munge_socket}",
        f"DbdHost={host}",
        "# The controller's own address: slurmdbd calls back where the connection came from.",
        f"DbdAddr={address}",
        f"DbdPort={spec.slurmdbd_port}",
        f"SlurmUser={spec.user}",
        "CommunicationParameters=NoInAddrAny",
        "DebugLevel=info",
        f"LogFile={spec.root}/log/slurmdbd.log",
        f"PidFile={spec.root}/run/slurmdbd.pid",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=slurm",
        f"StoragePass={password}",
        "StorageLoc=slurm_acct_db",
    ]
    return "\n".join(lines) + "\n"


def mariadb_cnf(spec: ClusterSpec) -> str:
    """my.cnf of the private database: small, on a unix socket only, no network port at all."""
    lines = [
        "[mysqld]",
        f"datadir={spec.root}/db/data",
        f"socket={spec.root}/db/mysqld.sock",
        f"pid-file={spec.root}/db/mysqld.pid",
        f"log-error={spec.root}/log/mariadbd.log",
        f"user={spec.user}",
        "skip-networking",
        "innodb_buffer_pool_size=64M",
        "innodb_log_file_size=16M",
        "innodb_lock_wait_timeout=900",
        "innodb_flush_log_at_trx_commit=2",
        "max_connections=20",
        "performance_schema=OFF",
    ]
    return "\n".join(lines) + "\n"


def jupyter_config(
    *,
    port: int,
    token: str,
    workspace: str,
    start_page: str,
    as_root: bool,
    teaches: bool = False,
) -> str:
    """jupyter_server_config.py: local, with a token, nothing fetched from outside, no popups.

    The Formgrader is for who teaches.
    """
    teaching = {f"nbgrader.server_extensions.{name}": teaches for name in TEACHING_SERVERS}
    lines = [
        "c = get_config()  # noqa: F821",
        f"c.ServerApp.ip = {'127.0.0.1'!r}",
        f"c.ServerApp.port = {port}",
        "c.ServerApp.port_retries = 0",
        "c.ServerApp.open_browser = False",
        f"c.ServerApp.allow_root = {as_root}",
        f"c.IdentityProvider.token = {token!r}",
        f"c.ServerApp.root_dir = {workspace!r}",
        f"c.LabApp.default_url = {start_page!r}",
        "c.LabApp.news_url = None",
        "c.LabApp.check_for_updates_class = 'jupyterlab.NeverCheckForUpdate'",
        "# A page's terminals open on the login node as a login shell would.",
        "c.ServerApp.terminado_settings = {'shell_command': ['/bin/bash']}",
        f"c.ServerApp.jpserver_extensions = {teaching!r}",
    ]
    return "\n".join(lines) + "\n"


TEACHING_SERVERS = ("formgrader", "course_list")
# The kit's courses are made from the labs' text: nobody needs "Create assignment".
NOT_OFFERED = {
    False: ("formgrader", "course-list", "create-assignment"),
    True: ("create-assignment",),
}


def jupyterlab_page(*, teaches: bool) -> str:
    """labconfig/page_config.json: which of nbgrader's menus JupyterLab does not offer."""
    disabled = {f"@jupyter/nbgrader:{name}": True for name in NOT_OFFERED[teaches]}
    return json.dumps({"disabledExtensions": disabled}, indent=2) + "\n"


def jupyterlab_overrides() -> str:
    """labconfig/default_setting_overrides.json: no questions about news, no extension downloads."""
    return (
        '{\n  "@jupyterlab/apputils-extension:notification": '
        '{"fetchNews": "false", "checkForUpdates": false},\n'
        '  "@jupyterlab/extensionmanager-extension:plugin": {"enabled": false}\n}\n'
    )
