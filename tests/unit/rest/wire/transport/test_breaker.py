from mcp_server.rest.wire.transport.breaker import Breaker


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(threshold=3, open_s=5, max_open_s=12)
    for _ in range(3):
        assert breaker.allows(at)
        breaker.failed(at)
    return breaker


def test_it_opens_after_failures_in_a_row_and_says_for_how_long() -> None:
    breaker = opened()
    assert not breaker.allows(4.9)
    assert breaker.open_for(2) == 3
    assert breaker.open_for(9) == 0


def test_an_answer_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(threshold=2)
    for _ in range(5):
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.allows(0)
    assert breaker.open_for(0) == 0


def test_half_open_it_lets_one_through_whose_answer_closes_it() -> None:
    breaker = opened()
    assert [breaker.allows(5), breaker.allows(5), breaker.allows(5)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.allows(5), breaker.allows(5)] == [True, True]


def test_a_failed_trial_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    breaker = opened()
    assert breaker.allows(5)
    breaker.failed(5)
    assert [breaker.allows(14.9), breaker.allows(15)] == [False, True]
    breaker.failed(15)
    assert [breaker.allows(26.9), breaker.allows(27)] == [False, True]
    breaker.failed(27)
    assert breaker.open_for(27) == 12


def test_a_trial_that_takes_its_time_does_not_hold_all_others() -> None:
    breaker = opened()
    assert [breaker.allows(5), breaker.allows(9.9), breaker.allows(10)] == [True, False, True]
    assert breaker.open_for(10) == 5
    breaker.succeeded()
    assert breaker.allows(10)


def test_calls_that_began_before_do_not_open_it_for_longer() -> None:
    breaker = opened()
    breaker.failed(4)
    assert breaker.allows(5)


def test_a_trial_whose_caller_went_away_leaves_it_to_the_next() -> None:
    breaker = opened()
    assert breaker.allows(5)
    breaker.given_up()
    assert breaker.open_for(5) == 0
    assert [breaker.allows(5), breaker.allows(5)] == [True, False]


def test_one_whose_caller_went_away_before_does_not_close_it() -> None:
    breaker = opened()
    breaker.given_up()
    assert not breaker.allows(4.9)
