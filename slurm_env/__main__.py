"""The cluster's half of the `workshop` command: up, down, status, doctor, shell, node, link.

Also `python -m slurm_env ...`, which is what `workshop` runs for these words. Standard library only
up to the doctor, so it starts at once.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from slurm_env import cluster
from slurm_env.hosts import parse_link
from slurm_env.processes import ClusterError, fetch_local, run, wait_until


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workshop", description="the class cluster")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the class cluster, or mend the running one")
    up.add_argument("--nodes", type=int, help="compute nodes, 1 to 8 (default: 4)")
    up.add_argument(
        "--no-accounting",
        dest="accounting",
        action="store_false",
        default=None,
        help="without slurmdbd and MariaDB: starts faster, but no sacct and no limits",
    )
    up.add_argument("--no-jupyter", dest="jupyter", action="store_false", help="without JupyterLab")
    up.add_argument("--wait-jupyter", action="store_true", help="return when JupyterLab answers")
    up.set_defaults(run=command_up)

    down = commands.add_parser("down", help="stop the class cluster and everything it started")
    down.set_defaults(run=command_down)

    status = commands.add_parser("status", help="what runs, in which mode and why, and the link")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=command_status)

    doctor = commands.add_parser("doctor", help="check this machine and the cluster; name remedies")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=command_doctor)

    shell = commands.add_parser("shell", help="open a shell on the login node")
    shell.add_argument("-c", metavar="COMMAND", dest="line", help="run one command there instead")
    shell.set_defaults(run=command_shell)

    node = commands.add_parser("node", help="pull a node's plug, or switch it on again")
    node.add_argument("power", choices=("off", "on"))
    node.add_argument("name", metavar="NODE", help="node1, node2, ...")
    node.set_defaults(run=command_node)

    link = commands.add_parser("link", help="set a node's link speed, cut its cable, join it again")
    link.add_argument("name", metavar="NODE", help="node1, node2, ...")
    link.add_argument(
        "state",
        metavar="100mbit|1gbit|none|cut|join|5ms",
        help="a rate, none (no limit), cut or join; a latency where the kernel has netem",
    )
    link.set_defaults(run=command_link)
    return parser


def _say(text: str, after_s: float) -> None:
    print(f"  {after_s:5.1f} s  {text}", flush=True)


def command_up(args: argparse.Namespace) -> int:
    started = time.monotonic()
    result = cluster.up(
        nodes=args.nodes, accounting=args.accounting, jupyter=args.jupyter, progress=_say
    )
    done = "is up" if result["fresh"] else "was up already; whatever was dead runs again"
    print(f"The class cluster {done} ({time.monotonic() - started:.1f} s).")
    link = cluster.jupyter_link()
    if args.jupyter and link:
        if args.wait_jupyter:
            _wait_for_jupyter()
        print(f"JupyterLab:  {link}")
    print("A shell:     workshop shell        Stop:  workshop down")
    return 0


def _wait_for_jupyter() -> None:
    def answers() -> bool:
        if not cluster.request("status")["daemons"].get("jupyterlab"):
            raise ClusterError(f"JupyterLab has ended. Log: {log}\n{cluster.last_lines(log)}")
        try:
            fetch_local(link, timeout_s=10)
            return True
        except OSError:
            return False

    link = cluster.jupyter_link("/api/status") or ""
    log = cluster.cluster_dir() / "log" / "jupyterlab.out"
    wait_until(answers, timeout_s=90, what="JupyterLab to answer", log=log, step_s=0.2)


def command_down(args: argparse.Namespace) -> int:
    started = time.monotonic()
    was_running = cluster.down(_say)
    took = f"({time.monotonic() - started:.1f} s)"
    print(f"The class cluster is down {took}." if was_running else "No class cluster was running.")
    return 0


def command_status(args: argparse.Namespace) -> int:
    record = cluster.running()
    if record is None:
        print(json.dumps({"running": False}) if args.json else "The class cluster is not running.")
        if not args.json:
            print("Start it: workshop up")
        return 1
    state = cluster.request("status") | {"running": True, "why": record["why"]}
    sinfo = cluster.shell_command("sinfo -h -N -p main -o '%N %T'")
    dead = [name for name, lives in state["daemons"].items() if not lives]
    if not {"munged", "slurmctld"} & set(dead):  # else sinfo would only wait for them
        done = run(sinfo, env=cluster.environment_inside(), timeout_s=10)
        for line in done.stdout.splitlines():
            name, slurm_state = line.split()
            state["nodes"][name]["slurm"] = slurm_state
    state["jupyter"] = cluster.jupyter_link() if "jupyterlab" in state["daemons"] else None
    state["workspace"] = str(cluster.workspace_dir())
    if args.json:
        print(json.dumps(state, indent=1))
        return 1 if dead else 0
    print(f"mode:        {state['mode']} ({state['why']})")
    if state["mode"] == "loopback":
        print(f"listening:   {state['listening']}")
    print(f"accounting:  {'on' if state['accounting'] else 'off: no sacct, no QOS limits'}")
    print(f"workspace:   {state['workspace']}")
    print(f"JupyterLab:  {state['jupyter'] or 'off'}")
    print("node     power  SLURM says     link")
    for name, node in state["nodes"].items():
        link = node["link"]
        words = (
            "cut"
            if link["cut"]
            else f"{link['rate']} {link['latency']}".replace("none", "").strip()
        )
        print(f"{name:8} {node['power']:6} {node.get('slurm', '?'):14} {words or 'no limit'}")
    if dead:
        print(f"dead: {', '.join(dead)}. Remedy: workshop up")
    return 1 if dead else 0


def command_doctor(args: argparse.Namespace) -> int:
    from slurm_env import doctor

    return doctor.main(as_json=args.json)


def command_shell(args: argparse.Namespace) -> int:
    command = cluster.shell_command(args.line)
    environment = cluster.environment_inside()
    if args.line is None:
        os.execvpe(command[0], command, environment)
    return subprocess.run(command, env=environment).returncode


def command_node(args: argparse.Namespace) -> int:
    cluster.request("node", name=args.name, power=args.power)
    if args.power == "off":
        print(f"{args.name} has lost its power. SLURM notices within a minute: watch `sinfo`.")
    else:
        print(f"{args.name} is on; `sinfo` shows when SLURM uses it again.")
    return 0


def command_link(args: argparse.Namespace) -> int:
    parse_link(args.state)
    cluster.request("link", name=args.name, state=args.state)
    print(f"{args.name}: link {args.state}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    # Daemons, ip and tc live where an ordinary user's PATH often does not look.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        return args.run(args)
    except (ClusterError, ValueError) as error:
        print(f"workshop {args.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except OSError as error:  # a full disk, a folder that can't be written, ...
        print(f"workshop {args.command}: {error}. `workshop doctor` may know more", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"workshop {args.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
