"""What sacct prints becomes records: arrays, steps, jobs that never started; forged rows do not."""

from course_lib.slurm.accounting import FIELDS, parse_records

END = "<end>"
# As SLURM 22.05 printed them on the class cluster.
JOB = {
    "JobIDRaw": "17",
    "JobID": "17",
    "User": "ada",
    "State": "CANCELLED by 1000",
    "ExitCode": "0:0",
    "Submit": "2000",
    "Start": "2004",
    "End": "2004",
    "NodeList": "None assigned",
    "Reason": "None",
    "TimelimitRaw": "1",
    "ReqMem": "4000M",
    "AllocCPUS": "0",
    "ElapsedRaw": "0",
    "TotalCPU": "00:00:00",
}


def text(*rows: dict[str, str]) -> str:
    every = [dict.fromkeys(FIELDS, "") | JOB | row for row in rows]
    return "".join("".join(row[name] + END for name in FIELDS) + "\n" for row in every)


def test_a_job_that_was_cancelled_in_the_queue_has_waited_and_never_started() -> None:
    (record,) = parse_records(text({}), END)
    assert (record.state, record.start_s, record.end_s) == ("CANCELLED", None, 2004)
    assert (record.waited_s, record.reason, record.nodes) == (4, "", ())
    assert (record.time_limit_s, record.memory_asked_bytes) == (60, 4000 * 2**20)


def test_a_job_that_waits_has_no_times() -> None:
    waiting = {"State": "PENDING", "Start": "Unknown", "End": "Unknown", "Reason": "BeginTime"}
    (record,) = parse_records(text(waiting), END)
    assert (record.start_s, record.end_s, record.waited_s) == (None, None, None)
    assert record.reason == "BeginTime"


def test_memory_that_sacct_does_not_know_yet_is_none() -> None:
    for said in ("16?", "", "500Mn"):
        (record,) = parse_records(text({"ReqMem": said}), END)
        assert record.memory_asked_bytes is None


def test_tasks_of_an_array_know_their_array() -> None:
    ran = {"State": "COMPLETED", "Start": "2001", "End": "2005", "NodeList": "node1"}
    rows = [
        {**ran, "JobIDRaw": "21", "JobID": "20_0", "TotalCPU": "00:01.500", "ElapsedRaw": "4"},
        {"JobIDRaw": "21.batch", "JobID": "20_0.batch", "MaxRSS": "3424K", "NTasks": "1"},
        {"JobIDRaw": "20", "JobID": "20_[1-3]", "State": "PENDING"},
    ]
    first, others = parse_records(text(*rows), END)
    assert (first.job_id, first.array_id, first.task_id) == (21, 20, 0)
    assert (first.cpu_used_s, first.elapsed_s, first.waited_s) == (1.5, 4, 1)
    assert first.steps["batch"].max_rss_bytes == 3424 * 1024
    assert (others.job_id, others.array_id, others.task_id) == (20, 20, None)


def test_words_of_a_learner_make_no_rows() -> None:
    forged = "x\n18|ada|COMPLETED|0:0\n"
    (record,) = parse_records(text({"JobName": forged, "SubmitLine": forged}), END)
    assert record.job_id == 17 and record.submit_line == forged
