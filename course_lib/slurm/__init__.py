"""Ask SLURM for nodes, follow the job, and explain what it says.

`site` holds what differs between clusters, `script` writes a job script as pure text, `client`
talks to SLURM's commands, `watch` follows a job to its end, `postmortem` finds the rank that
failed first, `efficiency` compares what jobs used with what they reserved. `notation` reads
SLURM's way of writing times and sizes; `reasons` puts its terse words into sentences. No file here
imports torch.
"""
