import pytest

from proxy.dialects.gemini_generate_content.generations import Generation, generation_of, render_effort


@pytest.mark.parametrize(
    ("model", "generation"),
    [
        ("gemini-3-pro-preview", (3, 0)),
        ("gemini-3.5-flash", (3, 5)),
        ("gemini-2.5-flash-lite", (2, 5)),
        ("models/gemini-2.0-flash-001", (2, 0)),
        ("google/gemini-10.12-pro", (10, 12)),
        ("gemini-3", (3, 0)),
        ("gemini-flash-latest", (3, 0)),
        ("gemini-flash-lite-latest", (3, 0)),
        ("gemini-embedding-001", (0, 0)),
        ("gemma-3-27b-it", (0, 0)),
        ("tuned-gemini-3-x", (0, 0)),
        ("gemini-999999999999-x", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_generation_is_read_from_the_name(model, generation):
    assert generation_of(model) == generation


def test_generations_differ_in_what_they_can():
    second, later, third = Generation(2, 0), Generation(2, 5), Generation(3, 0)
    assert [one.thinks for one in (Generation(0, 0), second, later, third)] == [False, False, True, True]
    assert [one.validates for one in (second, later, third)] == [False, True, True]
    for able in ("signs", "combines", "shown_outputs"):
        assert [getattr(one, able) for one in (later, third)] == [False, True]


@pytest.mark.parametrize(
    ("model", "effort", "rendered"),
    [
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.5-flash", "minimal", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.8-flash", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", "none", {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH"}),
        ("gemini-4-flash", "high", {"thinkingLevel": "HIGH"}),
        ("gemini-3.8-flash", "max", {"thinkingLevel": "HIGH"}),
        ("gemini-3.8-flash", "odd", None),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", "minimal", {"thinkingBudget": 512}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),
        ("gemini-2.5-pro", "max", {"thinkingBudget": 32_768}),
        ("gemini-2.5-flash", "xhigh", {"thinkingBudget": 24_576}),
        ("gemini-2.5-flash", "odd", None),
        ("gemini-2.0-flash", "none", {}),
        ("gemini-2.0-flash", "low", None),
    ],
)
def test_effort_is_what_the_model_has_for_it(model, effort, rendered):
    assert render_effort(model, effort) == rendered
