"""The vendors' packages, unmodified: OpenAI's reaching Claude and Gemini, Anthropic's reaching OpenAI and Gemini.

The stand-ins for the vendors refuse what the vendors refuse; that they answer as the vendors do is checked with the vendors' own packages against them, without a gateway."""

import json

import anthropic
import openai
import pytest
from anthropic import types
from conftest import PROVIDER_KEY
from google import genai
from google.genai import types as gtypes
from pydantic import BaseModel

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
MODELS = ["claude", "opus", "flash", "pro"]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": WEATHER}}]
RESPONSES_TOOLS = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]
MESSAGES_TOOLS = [{"name": "get_weather", "description": "The weather", "input_schema": WEATHER}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def user(text):
    return [{"role": "user", "content": text}]


def sent(gateway):
    seen = gateway.requests()
    assert len(seen) == 1, seen
    return seen[0], json.loads(seen[0]["body"])


@pytest.fixture
def claude(gateway):
    gateway.requests()
    return anthropic.Anthropic(base_url=gateway.url, api_key="sk-caller", max_retries=0, timeout=20)


# OpenAI's package, chat completions


@pytest.mark.parametrize("model", MODELS)
def test_chat(gateway, client, model):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "system", "content": "Be brief."}, *user("hello there")], temperature=0.5, max_completion_tokens=50)
    answer = raw.parse()
    assert answer.choices[0].message.content == "you said: hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 30 and answer.usage.prompt_tokens_details.cached_tokens == 7, "cached tokens are part of the prompt's"
    assert answer.usage.completion_tokens == 12 and answer.usage.completion_tokens_details.reasoning_tokens == 4
    request, body = sent(gateway)
    assert "sk-caller" not in json.dumps(request)
    trace = gateway.trace(raw.headers["x-request-id"])
    if model in ("claude", "opus"):
        assert request["path"] == "/v1/messages" and request["header"]["X-Api-Key"] == [PROVIDER_KEY] and request["header"]["Anthropic-Version"] == ["2023-06-01"]
        assert body["system"] == "Be brief." and body["max_tokens"] == 50
        assert ("temperature" in body) == (model == "claude")
        assert (trace.get("adjustments") or []) == ([] if model == "claude" else ["temperature left out"])
    else:
        assert request["path"].endswith(":generateContent") and request["header"]["X-Goog-Api-Key"] == [PROVIDER_KEY]
        assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
        assert body["generationConfig"] == {"maxOutputTokens": 50, "temperature": 0.5}
    assert trace["status"] == "ok" and trace["finish_reason"] == "stop" and trace["front"] == "chat_completions"
    assert trace["usage"]["input_tokens"] == 30 and trace["usage"]["cached_input_tokens"] == 7 and trace["usage"]["reasoning_output_tokens"] == 4
    assert trace["cost_usd"] > 0
    assert trace["request"]["messages"][1] == user("hello there")[0], "the trace has what the client sent"
    assert trace["response"]["choices"][0]["message"]["content"] == "you said: hello there", "and what it got"


@pytest.mark.parametrize("model", MODELS)
def test_stream(gateway, client, model):
    with client.chat.completions.with_streaming_response.create(
            model=model, messages=user("one two three"), stream=True, stream_options={"include_usage": True}) as raw:
        chunks = list(raw.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "you said: one two three"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.prompt_tokens == 30
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["status"] == "ok" and trace["stream"] and trace["ttft_ms"] is not None and trace["usage"]["output_tokens"] == 12
    assert trace["response"]["choices"][0]["message"]["content"] == "you said: one two three"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streamed", [False, True])
def test_tools(gateway, client, model, streamed):
    if streamed:
        with client.chat.completions.stream(model=model, messages=user("weather?"), tools=CHAT_TOOLS) as stream:
            for _ in stream:
                pass
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(model=model, messages=user("weather?"), tools=CHAT_TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and not message.content
    assert [json.loads(c.function.arguments) for c in message.tool_calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert len({c.id for c in message.tool_calls}) == 2
    history = user("weather?") + [message.model_dump(exclude_none=True)]
    history += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny in {c.id[-1]}"} for c in message.tool_calls]
    answer = client.chat.completions.create(model=model, messages=history, tools=CHAT_TOOLS)
    assert answer.choices[0].message.content.startswith("you said: sunny in")
    if model == "pro":
        body = json.loads(gateway.requests()[-1]["body"])
        signed = body["contents"][1]["parts"][0]["thoughtSignature"]
        assert signed not in ("skip_thought_signature_validator", ""), "the signature went to the client and came back"


def test_tool_choice(gateway, client):
    one = client.chat.completions.create(model="claude", messages=user("x"), tools=CHAT_TOOLS, parallel_tool_calls=False, tool_choice="required")
    assert len(one.choices[0].message.tool_calls) == 1
    assert sent(gateway)[1]["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    none = client.chat.completions.create(model="flash", messages=user("x"), tools=CHAT_TOOLS, tool_choice="none")
    assert none.choices[0].message.content == "you said: x"


@pytest.mark.parametrize("model", MODELS)
def test_structured_output(client, model):
    class Label(BaseModel):
        label: str

    answer = client.chat.completions.parse(model=model, messages=user("x"), response_format=Label)
    assert answer.choices[0].message.parsed == Label(label="positive")


@pytest.mark.parametrize("model", MODELS)
def test_image(gateway, client, model):
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PIXEL, "detail": "low"}}]
    assert client.chat.completions.create(model=model, messages=user(content)).choices[0].message.content == "you said: what is it?"
    _, body = sent(gateway)
    if "messages" in body:
        assert body["messages"][0]["content"][1] == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    else:
        assert body["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": PIXEL}}


def test_length(client):
    for model in MODELS:
        assert client.chat.completions.create(model=model, messages=user("x"), max_tokens=1).choices[0].finish_reason == "length"


def test_thinking_comes_back_with_its_signature(gateway, client):
    answer = client.chat.completions.create(model="opus", messages=user("weather?"), tools=CHAT_TOOLS, reasoning_effort="medium")
    message = answer.choices[0].message
    assert message.reasoning_content == "let me think"
    history = user("weather?") + [message.model_dump(exclude_none=True)] + [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in message.tool_calls]
    gateway.requests()
    client.chat.completions.create(model="opus", messages=history, tools=CHAT_TOOLS, reasoning_effort="medium")
    _, body = sent(gateway)
    assert body["thinking"] == {"type": "adaptive"} and body["output_config"] == {"effort": "medium"}
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "let me think", "signature": SIGNATURE}
    # The same conversation at another model: what only Claude can read does not go there.
    for model in ("assistant", "openai/gpt-4o", "pro"):
        gateway.requests()
        assert client.chat.completions.create(model=model, messages=history, tools=CHAT_TOOLS).choices[0].message
        request, body = sent(gateway)
        assert SIGNATURE not in request["body"] and "frontier" not in request["body"] and "let me think" not in request["body"]
        if model != "pro":
            assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "tool"]
            assert set(body["messages"][1]) <= {"role", "content", "tool_calls"}


def test_a_conversation_goes_round(gateway, client):
    """Each model takes up what the others have said, tool calls and all."""
    history = []
    for model in ["pro", "claude", "assistant", "flash", "opus", "pro", "assistant"]:
        history += user("weather?")
        message = client.chat.completions.create(model=model, messages=history, tools=CHAT_TOOLS, reasoning_effort="low" if model == "opus" else openai.omit).choices[0].message
        assert message.tool_calls, model
        history += [message.model_dump(exclude_none=True)]
        history += [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in message.tool_calls]
    assert client.chat.completions.create(model="claude", messages=history, tools=CHAT_TOOLS).choices[0].message.content.startswith("you said: sunny")
    roles = [m["role"] for m in json.loads(gateway.requests()[-1]["body"])["messages"]]
    assert all(a != b for a, b in zip(roles, roles[1:])), "roles alternate"


def test_refusals(gateway, client):
    raw = client.chat.completions.with_raw_response.create(model="anthropic/refuse", messages=user("x"))
    choice = raw.parse().choices[0]
    assert choice.finish_reason == "content_filter" and choice.message.refusal == "I cannot help with that."
    assert gateway.trace(raw.headers["x-request-id"])["finish_reason"] == "content_filter"
    for model, why in [("gemini/unsafe", "SAFETY"), ("gemini/blocked", "PROHIBITED_CONTENT")]:
        for stream in (False, True):
            if stream:
                chunks = list(client.chat.completions.create(model=model, messages=user("x"), stream=True))
                refusal = "".join(c.choices[0].delta.refusal or "" for c in chunks)
                assert chunks[-1].choices[0].finish_reason == "content_filter"
            else:
                choice = client.chat.completions.create(model=model, messages=user("x")).choices[0]
                assert choice.finish_reason == "content_filter"
                refusal = choice.message.refusal
            assert why in refusal


@pytest.mark.parametrize("model,kind,status", [
    ("anthropic/error-400", openai.BadRequestError, 400), ("anthropic/error-404", openai.NotFoundError, 404), ("anthropic/error-429", openai.RateLimitError, 429),
    ("anthropic/error-529", openai.InternalServerError, 529), ("gemini/error-400", openai.BadRequestError, 400), ("gemini/error-429", openai.RateLimitError, 429),
    ("gemini/error-503", openai.InternalServerError, 503), ("anthropic/error-401", openai.InternalServerError, 502), ("gemini/malformed", openai.InternalServerError, 502),
])
def test_errors(gateway, client, model, kind, status):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model=model, messages=user("x"))
    assert caught.value.status_code == status
    assert PROVIDER_KEY not in str(caught.value.body)
    if status < 502:
        assert "fake error" in caught.value.body["message"]
    code = {529: "overloaded_error", 429: None, 400: None}.get(status)
    if code:
        assert caught.value.body["code"] == code


@pytest.mark.parametrize("model", ["anthropic/cut", "anthropic/late-error", "anthropic/end-early", "gemini/cut", "gemini/end-early"])
def test_a_stream_that_is_cut(gateway, client, model):
    with client.chat.completions.with_streaming_response.create(model=model, messages=user("a b c d"), stream=True) as raw:
        with pytest.raises(openai.APIError):
            list(raw.parse())
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["status"] == "cut" and trace["error_class"] == "cut" and trace["usage"]["estimated"] is False or trace["usage"]["output_tokens"] > 0


def test_overloaded_before_the_first_word_falls_back(gateway, client):
    with pytest.raises(openai.InternalServerError):
        list(client.chat.completions.create(model="anthropic/overloaded", messages=user("x"), stream=True))
    raw = client.chat.completions.with_raw_response.create(model="overloaded", messages=user("help"))
    assert raw.parse().choices[0].message.content == "you said: help" and raw.headers["llm-model"] == "gemini/gemini-3-pro-preview"
    spans = gateway.trace(raw.headers["x-request-id"])["spans"]
    assert [(s["provider"], s["http_status"]) for s in spans] == [("anthropic", 529), ("gemini", 200)]


def test_what_cannot_be_said(gateway, client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="claude", messages=user("x"), n=2)
    assert caught.value.body["param"] == "n" and gateway.requests() == []
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="anthropic/claude-sonnet-4-5", input="x")
    # A variant that can say it takes the call over.
    raw = client.chat.completions.with_raw_response.create(model="unsaid", messages=user("x"), n=2)
    assert len(raw.parse().choices) == 2 and raw.headers["llm-variant"] == "stable"
    assert client.chat.completions.with_raw_response.create(model="unsaid", messages=user("x")).headers["llm-variant"] == "candidate"


# OpenAI's package, responses


@pytest.mark.parametrize("model", MODELS)
def test_responses(gateway, client, model):
    raw = client.responses.with_raw_response.create(model=model, input="hi you", instructions="be brief")
    answer = raw.parse()
    assert answer.output_text == "you said: hi you" and answer.status == "completed" and answer.usage.input_tokens == 30
    with client.responses.stream(model=model, input="hi you", tools=RESPONSES_TOOLS) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    calls = [item for item in final.output if item.type == "function_call"]
    assert [json.loads(c.arguments) for c in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    history = user("weather?") + [item.model_dump(exclude_none=True) for item in final.output]
    history += [{"type": "function_call_output", "call_id": c.call_id, "output": "sunny"} for c in calls]
    answer = client.responses.create(model=model, input=history, tools=RESPONSES_TOOLS)
    assert answer.output_text.startswith("you said: sunny")
    assert gateway.trace(raw.headers["x-request-id"])["response"]["output"][0]["content"][0]["text"] == "you said: hi you"


def test_responses_thinking_comes_back(gateway, client):
    answer = client.responses.create(model="opus", input="weather?", tools=RESPONSES_TOOLS, reasoning={"effort": "high"})
    assert answer.output[0].type == "reasoning" and answer.output[0].summary[0].text == "let me think"
    history = user("weather?") + [item.model_dump(exclude_none=True) for item in answer.output]
    history += [{"type": "function_call_output", "call_id": c.call_id, "output": "sunny"} for c in answer.output if c.type == "function_call"]
    gateway.requests()
    client.responses.create(model="opus", input=history, tools=RESPONSES_TOOLS, reasoning={"effort": "high"})
    assert sent(gateway)[1]["messages"][1]["content"][0] == {"type": "thinking", "thinking": "let me think", "signature": SIGNATURE}
    client.responses.create(model="openai/gpt-4o", input=history, tools=RESPONSES_TOOLS)
    request, body = sent(gateway)
    assert SIGNATURE not in request["body"] and [i.get("type") for i in body["input"]][1:] == ["function_call", "function_call", "function_call_output", "function_call_output"]


def test_responses_kept_elsewhere(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="claude", input="and?", previous_response_id="resp_1")
    assert caught.value.body["param"] == "previous_response_id"


# Anthropic's package


@pytest.mark.parametrize("model", ["claude", "assistant", "flash", "pro"])
def test_messages(gateway, claude, model):
    raw = claude.messages.with_raw_response.create(model=model, max_tokens=100, system="Be brief.", messages=user("hello there"))
    message = raw.parse()
    assert message.content[0].text == "you said: hello there" and message.stop_reason == "end_turn" and message.role == "assistant"
    usage = message.usage
    total = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    trace = gateway.trace(raw.headers["request-id"])
    assert trace["usage"]["input_tokens"] == total and trace["usage"]["cached_input_tokens"] == usage.cache_read_input_tokens
    assert trace["front"] == "messages" and trace["finish_reason"] == "end_turn" and trace["response"]["content"][0]["text"] == "you said: hello there"
    request, body = sent(gateway)
    if model == "claude":
        assert body == {"model": "claude-sonnet-4-5", "max_tokens": 100, "system": "Be brief.", "messages": user("hello there")}
        assert request["header"]["Anthropic-Version"] == ["2026-10-21"], "the client's own"
    assert request["header"].get("Authorization", [""])[0] != "Bearer sk-caller" and "sk-caller" not in json.dumps(request)


@pytest.mark.parametrize("model", ["claude", "assistant", "flash", "pro"])
def test_messages_streamed(gateway, claude, model):
    with claude.messages.stream(model=model, max_tokens=100, messages=user("one two three")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
        request_id = stream.response.headers["request-id"]
    assert text == "you said: one two three" == final.content[0].text
    assert final.stop_reason == "end_turn" and final.usage.output_tokens > 0
    trace = gateway.trace(request_id)
    assert trace["status"] == "ok" and trace["stream"] and trace["response"]["content"][0]["text"] == text
    assert trace["usage"]["output_tokens"] == final.usage.output_tokens


@pytest.mark.parametrize("model", ["claude", "assistant", "flash", "pro"])
@pytest.mark.parametrize("streamed", [False, True])
def test_messages_tools(claude, model, streamed):
    ask = dict(model=model, max_tokens=100, tools=MESSAGES_TOOLS)
    if streamed:
        with claude.messages.stream(messages=user("weather?"), **ask) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(messages=user("weather?"), **ask)
    calls = [b for b in message.content if b.type == "tool_use"]
    assert message.stop_reason == "tool_use" and [c.input for c in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    history = user("weather?") + [{"role": "assistant", "content": message.content}]
    history.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": "sunny"} for c in calls]})
    answer = claude.messages.create(messages=history, **ask)
    assert answer.content[0].type == "text"


def test_messages_conversation_goes_round(claude):
    history = []
    for model in ["pro", "claude", "assistant", "flash", "opus", "pro"]:
        history += user("weather?")
        message = claude.messages.create(model=model, max_tokens=2000, messages=history, tools=MESSAGES_TOOLS, thinking={"type": "adaptive"} if model in ("opus", "pro") else anthropic.omit)
        calls = [b for b in message.content if b.type == "tool_use"]
        assert len(calls) == 2, model
        history.append({"role": "assistant", "content": message.content})
        history.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": "sunny"} for c in calls]})
        history.append({"role": "assistant", "content": "It is sunny."})
    assert claude.messages.create(model="claude", max_tokens=100, messages=history + user("thanks")).content[0].text == "you said: thanks"


def test_messages_pass_untouched(gateway, claude):
    content = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]
    ask = dict(max_tokens=2000, messages=user(content), thinking={"type": "enabled", "budget_tokens": 1024}, metadata={"user_id": "ann"}, stop_sequences=["END"])
    message = claude.messages.create(model="anthropic/claude-sonnet-4-5", **ask)
    assert [b.type for b in message.content] == ["thinking", "text"] and message.content[0].signature == SIGNATURE
    assert sent(gateway)[1] == {"model": "claude-sonnet-4-5", **ask}
    assert gateway.traces("user=ann", 1)[0]["front"] == "messages"


def test_messages_prompts(gateway, claude):
    """The system text is recognised as a prompt, and each variant renders its own version of it."""
    seen = {}
    for i in range(24):
        raw = claude.messages.with_raw_response.create(model="claude-3-opus", max_tokens=50, system="You review songs.", messages=user("la la"), metadata={"user_id": f"u{i}"})
        seen[raw.headers["llm-variant"]] = (raw.headers["llm-prompt"], json.loads(gateway.requests()[-1]["body"]))
    assert seen["stable"][0] == "review/1" and seen["stable"][1]["system"] == "You review songs."
    prompt, body = seen["candidate"]
    assert prompt == "review/2" and body["messages"] == [{"role": "system", "content": "Review the songs below."}, {"role": "user", "content": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "la la"}]}]
    raw = claude.messages.with_raw_response.create(model="claude", max_tokens=50, messages=user("la"), extra_headers={"LLM-Prompt": "review/2", "LLM-Prompt-Variables": '{"what": "poems"}'})
    assert raw.headers["llm-prompt"] == "review/2"
    assert sent(gateway)[1]["system"] == "Review the poems below."


@pytest.mark.parametrize("model,kind,status", [
    ("openai/error-400", anthropic.BadRequestError, 400), ("openai/error-404", anthropic.NotFoundError, 404), ("openai/error-429", anthropic.RateLimitError, 429),
    ("openai/error-503", anthropic.InternalServerError, 503), ("gemini/error-429", anthropic.RateLimitError, 429), ("anthropic/error-429", anthropic.RateLimitError, 429),
    ("anthropic/error-529", anthropic.InternalServerError, 529), ("openai/error-401", anthropic.InternalServerError, 502),
])
def test_messages_errors(claude, model, kind, status):
    with pytest.raises(kind) as caught:
        claude.messages.create(model=model, max_tokens=10, messages=user("x"))
    assert caught.value.status_code == status and caught.value.body["type"] == "error" and PROVIDER_KEY not in str(caught.value.body)


def test_messages_errors_of_the_gateway(claude):
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(model="prompt@nowhere", max_tokens=10, messages=user("x"), extra_headers={"LLM-Prompt": "nobody"})
    assert caught.value.body["error"]["type"] == "not_found_error" and len(caught.value.body["request_id"]) == 32
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(model="assistant", max_tokens=10, messages=user("x"), tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert caught.value.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["anthropic/cut", "openai/cut", "gemini/cut"])
def test_messages_cut(gateway, claude, model):
    with pytest.raises(anthropic.APIError):
        with claude.messages.stream(model=model, max_tokens=100, messages=user("a b c d")) as stream:
            request_id = stream.response.headers["request-id"]
            for _ in stream:
                pass
    assert gateway.trace(request_id)["status"] == "cut"


def test_count_tokens(gateway, claude):
    assert claude.messages.count_tokens(model="claude", messages=user("hi")).input_tokens == 14
    request, body = sent(gateway)
    assert request["path"] == "/v1/messages/count_tokens" and body["model"] == "claude-sonnet-4-5"
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.count_tokens(model="assistant", messages=user("hi"))
    assert "count_tokens" in caught.value.body["error"]["message"]


# The vendors' packages against the stand-ins: they answer as the vendors do.


@pytest.fixture
def google(gateway):
    return genai.Client(api_key="AIza", http_options=gtypes.HttpOptions(base_url=gateway.provider))


def test_stand_in_for_gemini(google):
    answer = google.models.generate_content(model="gemini-2.5-flash", contents="hi", config={"system_instruction": "Be brief.", "temperature": 0.2, "max_output_tokens": 40})
    assert answer.text == "you said: hi" and answer.candidates[0].finish_reason == gtypes.FinishReason.STOP
    assert answer.usage_metadata.prompt_token_count == 30 and answer.usage_metadata.thoughts_token_count == 4 and answer.response_id
    chunks = list(google.models.generate_content_stream(model="gemini-2.5-flash", contents="a b c"))
    assert "".join(c.text for c in chunks) == "you said: a b c" and chunks[-1].candidates[0].finish_reason == gtypes.FinishReason.STOP
    blocked = google.models.generate_content(model="blocked", contents="hi")
    assert blocked.prompt_feedback.block_reason == gtypes.BlockedReason.PROHIBITED_CONTENT
    with pytest.raises(genai.errors.ClientError) as caught:
        google.models.generate_content(model="error-429", contents="hi")
    assert caught.value.code == 429 and caught.value.status == "RESOURCE_EXHAUSTED"


def test_stand_in_for_gemini_tools(google):
    declaration = gtypes.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
    config = gtypes.GenerateContentConfig(tools=[gtypes.Tool(function_declarations=[declaration])])
    contents = [gtypes.Content(role="user", parts=[gtypes.Part(text="weather?")])]
    answer = google.models.generate_content(model="gemini-3-pro-preview", contents=contents, config=config)
    assert [c.args for c in answer.function_calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert answer.candidates[0].content.parts[0].thought_signature
    contents.append(answer.candidates[0].content)
    contents.append(gtypes.Content(role="user", parts=[gtypes.Part.from_function_response(name=c.name, response={"output": "sunny"}) for c in answer.function_calls]))
    assert google.models.generate_content(model="gemini-3-pro-preview", contents=contents, config=config).text == "you said: sunny sunny"
    contents[1].parts[0].thought_signature = None
    with pytest.raises(genai.errors.ClientError, match="thought_signature"):
        google.models.generate_content(model="gemini-3-pro-preview", contents=contents, config=config)


def test_stand_in_for_anthropic(gateway):
    direct = anthropic.Anthropic(base_url=gateway.provider, api_key="x", max_retries=0)
    message = direct.messages.create(model="claude-sonnet-4-5", max_tokens=2000, messages=user("hi"), thinking={"type": "enabled", "budget_tokens": 1024})
    assert isinstance(message.content[0], types.ThinkingBlock) and message.content[1].text == "you said: hi"
    with direct.messages.stream(model="claude-sonnet-4-5", max_tokens=2000, messages=user("hi"), tools=MESSAGES_TOOLS) as stream:
        assert [b.input for b in stream.get_final_message().content] == [{"city": "Paris"}, {"city": "Oslo"}]
    refused = direct.messages.create(model="refuse", max_tokens=10, messages=user("hi"))
    assert refused.stop_reason == "refusal" and refused.stop_details.explanation
    with pytest.raises(anthropic.BadRequestError, match="unexpected `tool_use_id`"):
        direct.messages.create(model="claude-sonnet-4-5", max_tokens=10, messages=user([{"type": "tool_result", "tool_use_id": "x", "content": ""}]))
