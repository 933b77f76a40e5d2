import pytest

from proxy.dialects.chat_completions.profile import EVERY_EFFORT, Profile, efforts, same


@pytest.mark.parametrize(
    ("known", "rendered"),
    [
        (
            ("low", "medium", "high"),
            {"minimal": "low", "low": "low", "medium": "medium", "xhigh": "high", "max": "high"},
        ),
        (("minimal", "high"), {"low": "minimal", "medium": "high", "max": "high"}),
        (("none", "high"), {"none": "none", "minimal": "high"}),
    ],
)
def test_effort_a_provider_lacks_is_the_nearest_it_has(known, rendered):
    table = efforts(*known)
    assert {level: table[level]["reasoning_effort"] for level in rendered} == rendered


def test_reasoning_that_cannot_be_turned_off_is_not():
    assert "none" not in efforts("low", "high")


def test_every_effort_stands_for_itself():
    assert {level: {"reasoning_effort": level} for level in EVERY_EFFORT} == EVERY_EFFORT
    assert len(EVERY_EFFORT) == 7


def test_same_is_what_it_says():
    assert same("auto", "flex") == {"auto": "auto", "flex": "flex"}


def test_profiles_are_told_apart_by_their_tables_too():
    one, other = Profile(tiers=same("flex")), Profile(tiers=same("auto"))
    assert one != other
    assert {one: 1, other: 2}[other] == 2
