import orjson

from proxy.dialects.gemini_generate_content.response import parse_response
from tests.dialects.gemini_generate_content.test_response import body_of
from tests.dialects.oracle import context_of, refusal_of, text_of


def parse(*parts, **members):
    return parse_response(body_of(*parts, **members), context_of())


def answer(**members):
    return parse_response(orjson.dumps(members), context_of())


def logprob(token, value, **members):
    return {"token": token, "logProbability": value, **members}


def test_blocked_prompt_is_filtered_and_says_why():
    usage = {"promptTokenCount": 7, "totalTokenCount": 7}
    told = {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "Injection."}
    response = answer(promptFeedback=told, usageMetadata=usage)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert (refusal_of(response), response["usage"]["input_tokens"]) == ("Injection.", 7)
    assert answer(promptFeedback={"blockReason": "OTHER"})["output"] == []


def test_filtered_answer_says_why_once():
    said = {"content": {}, "finishReason": "SAFETY", "finishMessage": "No."}
    response = parse_response(orjson.dumps([{"candidates": [said]}] * 2), context_of())
    assert (response["status"], refusal_of(response)) == ("incomplete", "No.")


def test_message_of_a_good_end_is_nothing():
    candidate = {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "finishMessage": "Done."}
    assert (text_of(answer(candidates=[candidate]))) == "x"


def test_alternatives_are_left_out():
    candidates = [{"index": at, "content": {"parts": [{"text": str(at)}]}, "finishReason": "STOP"} for at in range(3)]
    assert text_of(answer(candidates=candidates)) == "0"


def test_model_and_tier_are_those_that_answered():
    usage = {"promptTokenCount": 3, "trafficType": "ON_DEMAND_FLEX"}
    response = parse({"text": "x"}, modelVersion="gemini-y", usageMetadata=usage)
    assert (response["model"], response["service_tier"]) == ("gemini-y", "flex")
    assert parse({"text": "x"}, usageMetadata={"serviceTier": "odd"})["service_tier"] == "default"


def test_log_probabilities_are_of_the_text():
    tops = [{"candidates": [logprob("He", -0.1), logprob("", -9.0)]}, {}]
    chosen = [logprob("He", -0.1, tokenId=3), logprob("é", 0), {"token": "x"}, 3]
    candidate = {
        "content": {"parts": [{"text": "Hm", "thought": True}, {"text": "He"}, {"text": "é"}]},
        "logprobsResult": {"chosenCandidates": chosen, "topCandidates": tops},
        "finishReason": "STOP",
    }
    part = answer(candidates=[candidate])["output"][1]["content"][0]
    he, empty = {"token": "He", "bytes": [72, 101], "logprob": -0.1}, {"token": "", "bytes": [], "logprob": -9.0}
    other = {"token": "é", "bytes": [195, 169], "logprob": 0, "top_logprobs": []}
    assert part["logprobs"] == [{**he, "top_logprobs": [he, empty]}, other]


def test_strange_members_are_left_out():
    for value in (None, [], "x", 3, {}, [3], {"a": [{}]}):
        candidate = {
            "content": {"parts": [{"text": "x"}, value]},
            "finishReason": "STOP",
            "logprobsResult": {"chosenCandidates": value, "topCandidates": value},
            "groundingMetadata": value,
            "citationMetadata": value,
        }
        response = answer(candidates=[candidate, value], usageMetadata=value, modelVersion=value, promptFeedback=value)
        assert text_of(response) == "x"
        assert answer(candidates=[{"content": value, "finishReason": "STOP"}])["output"] == []
