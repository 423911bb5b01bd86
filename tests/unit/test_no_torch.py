"""The parts that a login node uses start without torch."""

import subprocess
import sys


def test_light_modules_do_not_import_torch() -> None:
    program = (
        "import sys, course_lib.places, course_lib.config, course_lib.presets, "
        "course_lib.plan.counts, course_lib.slurm, course_lib.runlog\n"
        "print([name for name in ('torch', 'numpy', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
