"""The exercises of lab 01, and three hints for each."""

from course_lib.grade.checks import Exercise, Lab

LAB = Lab(
    [
        Exercise(
            name="over_time",
            hints=(
                "The script sleeps for ten minutes. How long may it run, if you say nothing?",
                "--time=1 is one minute, the shortest limit there is. SLURM looks every half "
                "minute, so the job may live some seconds longer.",
                'long_job = submit(sleeper, "--time=1"). Later: hand_in("over_time", job=long_job, '
                'state="TIMEOUT"), with the word that sacct shows.',
            ),
        ),
        Exercise(
            name="waiting_job",
            hints=(
                "A job of yours is running. What could the next one ask for that is not free now?",
                "All nodes for itself: --nodes=... with the number from sinfo, and --exclusive. "
                "squeue's last column says why it waits; give SLURM a second.",
                'waiting = submit(sleeper, f"--time=1 --exclusive --nodes={num_nodes}"), '
                'time.sleep(3), hand_in("waiting_job", job=waiting, reason=reason_of(waiting)), '
                'then slurm(f"scancel {busy} {waiting}").',
            ),
        ),
        Exercise(
            name="over_memory",
            hints=(
                "The program keeps 400 MiB. What does the job have to ask for, so that this is too "
                "much?",
                "--mem=100M in submit's second argument. Then wait_for(job) and read its State.",
                'hungry = submit(hog, "--mem=100M"), wait_for(hungry), and then '
                'hand_in("over_memory", job=hungry, state="FAILED"), or OUT_OF_MEMORY where sacct '
                "says so.",
            ),
        ),
        Exercise(
            name="array_and_after",
            hints=(
                "One submit for the array, one for the job that waits for it; both before any has "
                "ended.",
                "--array=0-3 makes four tasks. --dependency=TYPE:NUMBER makes a job wait: which "
                "type wants all tasks to have succeeded?",
                'array = submit(part, "--array=0-3"), then after = submit(collect, '
                'f"--dependency=afterok:{array}").',
            ),
        ),
        Exercise(
            name="stopped_in_time",
            hints=(
                "Three things: SLURM must send the signal, to the script; the script must listen; "
                "and bash must be free to run the function while the work goes on.",
                "#SBATCH --signal=B:USR1@10 sends it to the script (B:) ten seconds or more before "
                "the end. trap save USR1 listens. A command in the foreground keeps bash busy.",
                "Below #SBATCH --time=1: #SBATCH --signal=B:USR1@10. Below the function: trap save "
                "USR1. And at the end: sleep 600 & and, in the next line, wait.",
            ),
        ),
        Exercise(
            name="right_size",
            hints=(
                "How many CPUs can one loop keep busy?",
                "Options behind submit win over those in the script.",
                'fitting = submit(loop, "--cpus-per-task=1").',
            ),
        ),
        Exercise(
            name="job_script",
            hints=(
                "Five #SBATCH lines (nodes, ranks on each, time, memory, output), and one srun. "
                "The check says which is missing.",
                "--nodes, --ntasks-per-node, --time (minutes), --mem (on a node, 500M), --output "
                "with %j for the job's number. srun starts its command once for each rank.",
                "#SBATCH --ntasks-per-node=2, #SBATCH --time=5, #SBATCH --mem=500M, #SBATCH "
                "--output=hello-%j.out, and the line: srun bash -c 'echo \"rank $SLURM_PROCID of "
                "$SLURM_NTASKS on $SLURMD_NODENAME\"'",
            ),
        ),
        Exercise(
            name="two_nodes",
            hints=(
                "Send the script that you have just written.",
                "submit(hello_script) returns the number; wait_for(number) until it has ended.",
                'hello = submit(hello_script), wait_for(hello), hand_in("two_nodes", job=hello).',
            ),
        ),
    ]
)
