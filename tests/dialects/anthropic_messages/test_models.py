import pytest

from proxy.dialects.anthropic_messages.models import EFFORTS, find_model, plain_name


@pytest.mark.parametrize(
    ("name", "max_tokens", "thinking"),
    [
        ("claude-3-opus-20240229", 4096, "none"),
        ("claude-3-5-haiku-20241022", 8192, "none"),
        ("claude-3-7-sonnet@20250219", 64_000, "budget"),
        ("claude-opus-4-20250514", 32_000, "budget"),
        ("claude-opus-4", 32_000, "budget"),
        ("claude-opus-4@20250514", 32_000, "budget"),
        ("claude-sonnet-4-0", 64_000, "budget"),
        ("claude-opus-4-1-20250805", 32_000, "budget"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 64_000, "budget"),
        ("anthropic/claude-haiku-4.5", 64_000, "budget"),
        ("claude-opus-4-6", 128_000, "adaptive"),
        ("claude-sonnet-5", 128_000, "adaptive"),
        ("claude-opus-5-5", 128_000, "adaptive"),
        ("claude-opus-9", 128_000, "adaptive"),
        ("some-other-model", 8192, "budget"),
    ],
)
def test_model_is_found_by_its_name_at_any_cloud(name, max_tokens, thinking):
    model = find_model(name)
    assert (model.max_tokens, model.thinking) == (max_tokens, thinking)


@pytest.mark.parametrize(
    ("trait", "takers", "others"),
    [
        ("samples", "sonnet-4-6 opus-4-6 haiku-4-5", "opus-4-7 sonnet-5 haiku-5-5 fable-5 opus-9"),
        ("forced", "opus-5 fable-5 haiku-5-5 opus-9", "opus-5-5 sonnet-5-5 fable-5-1 mythos-preview"),
        ("system_turns", "opus-4-8 opus-5 opus-5-5 fable-5-1", "opus-4-7 sonnet-5 sonnet-4-5"),
        ("bound", "opus-5-5 sonnet-5-5 fable-5-2 mythos-5-1", "opus-5 sonnet-5 fable-5"),
        ("structured", "opus-4-1 haiku-4-5 sonnet-5", "opus-4-0 sonnet-4-20250514 3-7-sonnet"),
        ("prefill", "sonnet-4-5 opus-4-1", "opus-4-6 sonnet-4-6 opus-5"),
        ("quiet", "opus-4-7 sonnet-5", "opus-4-6 sonnet-4-5"),
    ],
)
def test_family_takes_what_it_is_known_to(trait, takers, others):
    assert all(getattr(find_model(f"claude-{name}"), trait) for name in takers.split())
    assert not any(getattr(find_model(f"claude-{name}"), trait) for name in others.split())


def test_efforts_are_in_rising_order():
    for name in ("claude-opus-4-5", "claude-opus-4-6", "claude-opus-5-5"):
        ranks = [EFFORTS.index(effort) for effort in find_model(name).efforts]
        assert ranks == sorted(ranks) != []


def test_plain_name_is_the_vendors():
    assert plain_name("eu.anthropic.claude-haiku-4-5-20251001-v1:0") == "claude-haiku-4-5-20251001-v1:0"
    assert plain_name("other") == "other"
