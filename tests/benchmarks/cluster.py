"""How fast the class cluster starts, stops, launches and carries: medians, with ratios.

`make bench`, or `python -m tests.benchmarks.cluster`. It starts clusters of its own in a temporary
folder. Bars: warm `up` 5 s with accounting and 2 s without, `down` 5 s, `srun -N4` 1 s, and links
within 25 % of their rate.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

REPEATS = 5
ALL_REDUCE = "srun -N2 -n2 python -m slurm_env.allreduce --bytes {} --seconds 3"


def workshop(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "slurm_env", *words], capture_output=True, text=True, timeout=180
    )
    if done.returncode:
        raise SystemExit(f"workshop {' '.join(words)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds(*words: str) -> float:
    started = time.perf_counter()
    workshop(*words)
    return time.perf_counter() - started


def report(what: str, times_s: list[float], bar_s: float) -> None:
    median = statistics.median(times_s)
    spread = f"{min(times_s):.2f}-{max(times_s):.2f}"
    print(f"{what:34} {median:6.2f} s  ({spread})  {median / bar_s:5.2f} x the bar of {bar_s} s")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workshop-bench-") as base:
        os.environ["WORKSHOP_BASE"] = base
        try:
            first_s = seconds("up", "--no-jupyter")
            print(f"{'first up (creates the database)':34} {first_s:6.2f} s")
            # With and without accounting in turn, so that both meet the same load.
            times_s = {key: [] for key in ("up", "down", "up bare", "down bare", "srun")}
            workshop("down")
            for _ in range(REPEATS):
                times_s["up"].append(seconds("up", "--no-jupyter"))
                times_s["srun"].append(seconds("shell", "-c", "srun -N4 hostname"))
                times_s["down"].append(seconds("down"))
                times_s["up bare"].append(seconds("up", "--no-jupyter", "--no-accounting"))
                times_s["down bare"].append(seconds("down"))
            report("warm up, with accounting", times_s["up"], 5)
            report("warm up, without accounting", times_s["up bare"], 2)
            report("down, with accounting", times_s["down"], 5)
            report("down, without accounting", times_s["down bare"], 5)
            report("srun -N4 hostname", times_s["srun"], 1)
            with_lab_s = []
            for _ in range(3):
                workshop("up", "--wait-jupyter")
                with_lab_s.append(seconds("down"))
            report("down, with JupyterLab", with_lab_s, 5)
            workshop("up", "--no-jupyter", "--no-accounting")
            if json.loads(workshop("status", "--json"))["mode"] == "loopback":
                print("loopback mode: no links to measure")
                return
            for rate, bits_per_s in (("100mbit", 1e8), ("1gbit", 1e9), ("none", None)):
                workshop("link", "node2", rate)
                for size_bytes in (2**23, 2**25):
                    result = json.loads(workshop("shell", "-c", ALL_REDUCE.format(size_bytes)))
                    got = result["bandwidth_bytes_per_s"] * 8
                    ratio = f"{got / bits_per_s:5.2f} x the link" if bits_per_s else ""
                    name = f"all-reduce {size_bytes >> 20} MiB, link {rate}"
                    print(f"{name:34} {got / 1e6:6.0f} Mbit/s  {ratio}")
        finally:
            workshop("down")


if __name__ == "__main__":
    main()
