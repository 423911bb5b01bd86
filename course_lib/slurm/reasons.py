"""SLURM's terse words, each with a sentence that says what to do.

`squeue` prints a reason for every waiting job, and `sbatch` one for every job that it refuses. They
are exact but short: `QOSMaxWallDurationPerJobLimit`. Here is what a learner would ask a neighbour.
Reasons that hold for ever are marked: such a job never starts, so that waiting for it is a mistake.

Source: "JOB REASON CODES" in the manual page squeue(1), and what SLURM 22.05 answered when tried.
"""

# Reasons of waiting jobs that pass with time.
_PASSING = {
    "None": "SLURM has just taken the job and has not looked at it yet",
    "Resources": "the nodes are busy; the job starts when enough of them are free",
    "Priority": "other jobs are in front of this one in the queue",
    "Dependency": "it waits for another job to end",
    "BeginTime": "its time to begin has not come: a job that goes back to the queue is held for a "
    "minute or two",
    "JobArrayTaskLimit": "as many tasks of this array as allowed are running already",
    "ReqNodeNotAvail": "a node that it needs is down, drained or reserved (sinfo -R says why)",
    "Reservation": "its reservation has not begun",
    "Licenses": "all licences that it asks for are in use",
    "Cleaning": "SLURM is tidying up after its last start",
    "QOSMaxJobsPerUserLimit": "you have as many running jobs as your QOS allows; it is next",
    "QOSMaxCpuPerUserLimit": "your running jobs use all the CPUs that your QOS allows you",
    "QOSMaxNodePerUserLimit": "your running jobs use all the nodes that your QOS allows you",
    "QOSMaxGRESPerUser": "your running jobs use all the GPUs that your QOS allows you",
    "QOSGrpNodeLimit": "everybody's jobs together use all the nodes of this QOS",
    "QOSGrpCpuLimit": "everybody's jobs together use all the CPUs of this QOS",
    "AssocMaxJobsLimit": "you have as many running jobs as your account allows",
    "AssocGrpCpuLimit": "your account's jobs together use all the CPUs it may have",
    "AssocGrpNodeLimit": "your account's jobs together use all the nodes it may have",
    "AssocGrpGRES": "your account's jobs together use all the GPUs it may have",
}

# Reasons that will not pass: the job has to be changed, or somebody has to act.
_LASTING = {
    "PartitionNodeLimit": "it asks for more nodes than its partition gives to one job",
    "PartitionTimeLimit": "its time limit is longer than its partition's (scontrol show partition)",
    "PartitionConfig": "it asks for more than its partition can give (scontrol show partition)",
    "PartitionDown": "its partition takes jobs but starts none at present (sinfo)",
    "PartitionInactive": "its partition is switched off (sinfo)",
    "QOSMaxWallDurationPerJobLimit": "its time limit is longer than its QOS allows",
    "QOSMaxNodePerJobLimit": "it asks for more nodes than its QOS gives to one job",
    "QOSMaxCpuPerJobLimit": "it asks for more CPUs than its QOS gives to one job",
    "QOSMaxMemoryPerJob": "it asks for more memory than its QOS gives to one job",
    "QOSMaxGRESPerJob": "it asks for more GPUs than its QOS gives to one job",
    "QOSMaxSubmitJobPerUserLimit": "you have as many jobs in the queue as your QOS allows",
    "AssocMaxSubmitJobLimit": "you have as many jobs in the queue as your account allows",
    "AssocMaxWallDurationPerJobLimit": "its time limit is longer than your account allows",
    "AssocMaxNodePerJobLimit": "it asks for more nodes than your account gives to one job",
    "AssocMaxCpuPerJobLimit": "it asks for more CPUs than your account gives to one job",
    "MaxMemPerLimit": "it asks for more memory than a job may have",
    "BadConstraints": "no node has what it asks for",
    "DependencyNeverSatisfied": "the job that it waits for failed; cancel it with scancel",
    "JobHeldUser": "it is held; let it go with: scontrol release JOBID",
    "JobHeldAdmin": "an administrator holds it",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its QOS may not use this partition",
    "InvalidAccount": "its account does not exist",
    "InvalidQOS": "its QOS does not exist or is not yours",
}

# Parts of sbatch's own messages.
_REFUSALS = {
    "Invalid partition": "there is no such partition here: `sinfo` lists them",
    "Invalid qos": "there is no such QOS, or it is not yours: `sacctmgr show assoc user=$USER`",
    "Invalid account": "you are not a member of this account: `sacctmgr show assoc user=$USER`",
    "CPU count per node": "no node has that many CPUs: use fewer ranks on a node",
    "Memory specification": "no node has that much memory: use fewer ranks on a node",
    "node configuration is not available": "no node has what the job asks for: `sinfo -o '%D %c "
    "%m %G'` lists nodes, CPUs, memory and GPUs",
    "reservation is invalid": "there is no such reservation: `scontrol show reservation`",
    "Requested time limit": "the time limit is longer than the partition allows: `sinfo` has it",
    "look like a batch script": "its first line must be #!/bin/bash, with no empty line before it",
    "More processors requested": "its partition has fewer nodes or CPUs, or gives one job fewer: "
    "`sinfo`",
    "Node count specification": "its partition has fewer nodes, or gives one job fewer: `sinfo`",
    "accounting/QOS policy": "a limit of your QOS or account stands against it",
}


def explain_reason(reason: str) -> str:
    """Return a waiting job's reason as a sentence; an unknown one comes back as it is."""
    word = reason.strip("()")
    for table in (_PASSING, _LASTING):
        if word in table:
            return table[word]
    # Some carry a tail: ReqNodeNotAvail, UnavailableNodes:node3
    for known, sentence in _PASSING.items():
        if known != "None" and word.startswith(known):
            return f"{sentence} ({word})"
    return word


def reason_word(text: str) -> str:
    """Return the word of a reason, without brackets and the tail behind a comma."""
    return text.strip().strip("()").split(",")[0].strip()


def is_reason(word: str) -> bool:
    """Tell whether this is one of the words above, perhaps with a tail behind a comma."""
    return reason_word(word) in _PASSING | _LASTING


def never_starts(reason: str) -> bool:
    """Tell whether a job with this reason waits for ever unless somebody acts."""
    return reason.strip("()") in _LASTING


def explain_refusal(message: str) -> str:
    """Return sbatch's refusal with what it means, most telling line first.

    A limit is named by a word of its own (`QOSMaxWallDurationPerJobLimit`) above the general line.
    """
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in message.splitlines()]
    said = "; ".join(line.removeprefix("Batch job submission failed: ") for line in lines if line)
    for line in lines:
        if line in _LASTING or line in _PASSING:
            return f"SLURM refused the job: {explain_reason(line)}. It said: {said}"
    for part, sentence in _REFUSALS.items():
        if part.lower() in message.lower():
            return f"SLURM refused the job: {sentence}. It said: {said}"
    return f"SLURM refused the job. It said: {said}"
