"""The clock for ranks that share cores and links, on cases that can be worked out by hand."""

import pytest

from course_lib.plan.tape import Land, Need, Wire, Work, play


def alone(ranks: int) -> float:
    return 1.0


def two_cores(ranks: int) -> float:
    return max(1.0, ranks / 2)


def test_work_adds_up_by_part():
    [parts] = play([[Work(1.0, "a"), Work(2.0, "b"), Work(0.5, "a")]], alone)
    assert parts == pytest.approx({"a": 1.5, "b": 2.0})


def test_four_ranks_on_two_cores_take_twice_as_long_while_all_compute():
    tapes = [[Work(float(n), "work")] for n in (1, 1, 1, 3)]
    played = [sum(parts.values()) for parts in play(tapes, two_cores)]
    # All four until 2 s; then the last one, with 2 of its 3 s left, is alone.
    assert played == pytest.approx([2.0, 2.0, 2.0, 4.0])


def test_a_message_runs_beside_work_and_is_waited_for_at_the_end():
    tape = [Wire(3.0, 3.0), Work(1.0, "work"), Wire(2.0, 2.0), Land("wait")]
    [parts] = play([tape], alone)
    assert parts == pytest.approx({"work": 1.0, "wait": 4.0})  # one after the other: 5 s in all


def test_who_needs_a_message_waits_for_it_and_leaves_its_core():
    sends = [Work(1.0, "work"), Wire(0.5, 0.5, ("x",)), Work(1.0, "work")]
    needs = [Need(("x",), "wait"), Work(1.0, "work")]
    one_core = play([sends, needs], lambda ranks: float(ranks))
    # 1 s, then the sender alone for 0.5 s, then both with half of the core each.
    assert one_core[0] == pytest.approx({"work": 2.5})
    assert one_core[1] == pytest.approx({"wait": 1.5, "work": 1.5})


def test_a_link_lets_through_at_once_what_it_could_have_sent_meanwhile():
    def tape(pause_s: float) -> list:
        return [Wire(1.0, 0.1), Land("wait"), Work(pause_s, "work"), Wire(1.0, 0.1), Land("wait")]

    waits = [play([tape(pause)], alone, bucket_s=0.4)[0]["wait"] for pause in (0.0, 0.3, 5.0)]
    assert waits == pytest.approx([2.0, 1.7, 1.6])


def test_waiting_for_ever_is_an_error():
    with pytest.raises(ValueError, match="wait for ever.*nobody"):
        play([[Need(("nobody",), "wait")], [Work(1.0, "work")]], alone)


def test_nothing_to_do_takes_no_time():
    assert play([[], [Work(0.0, "work")]], alone) == [{}, {}]


def test_a_long_day_ends_in_spite_of_rounding():
    tape = [Work(1e5, "work"), *[Work(1e-13, "work"), Wire(1e-13, 1e-13), Land("wait")] * 50]
    played = play([tape, [Work(1.0, "work")]], two_cores)
    assert sum(played[0].values()) == pytest.approx(1e5)
