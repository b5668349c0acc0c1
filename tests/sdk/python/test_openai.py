"""The official openai package, unmodified, against a running gateway."""

import asyncio
import json
import time

import openai
import pytest
from conftest import PROVIDER_KEY


def user(text):
    return [{"role": "user", "content": text}]


def sent(gateway):
    seen = gateway.requests()
    assert len(seen) == 1, seen
    return seen[0], json.loads(seen[0]["body"])


def test_chat(gateway, client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=user("hello there"), temperature=0.5)
    answer = raw.parse()
    assert answer.choices[0].message.content == "you said: hello there"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["llm-model"] == "openai/gpt-4o"
    assert "set-cookie" not in raw.headers and "openai-organization" not in raw.headers
    request, body = sent(gateway)
    assert request["header"]["Authorization"] == ["Bearer " + PROVIDER_KEY]
    assert "sk-caller" not in json.dumps(request)
    assert body == {"model": "gpt-4o", "messages": user("hello there"), "temperature": 0.5}
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["assignment"] == "direct" and trace["status"] == "ok" and trace["provider"] == "openai"
    assert trace["usage"]["input_tokens"] == answer.usage.prompt_tokens and trace["cost_usd"] > 0
    assert trace["request"]["messages"] == user("hello there")
    assert trace["response"]["choices"][0]["message"]["content"] == "you said: hello there"
    assert trace["spans"][0]["upstream_request_id"] == raw.headers["llm-upstream-request-id"]


def test_stream(gateway, client):
    with client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=user("one two three"), stream=True) as raw:
        chunks = list(raw.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "you said: one two three"
    assert all(c.choices for c in chunks), "usage was not asked for and must not be sent"
    assert chunks[-1].choices[0].finish_reason == "stop"
    _, body = sent(gateway)
    assert body["stream_options"] == {"include_usage": True}
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["stream"] and trace["ttft_ms"] is not None and trace["finish_reason"] == "stop"
    assert trace["usage"]["output_tokens"] == 5 and trace["cost_usd"] > 0
    assert trace["response"]["choices"][0]["message"]["content"] == "you said: one two three"


def test_stream_with_usage_asked_for(client):
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=user("a b"), stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 4


def test_stream_comes_as_it_is_made(client):
    times = []
    for chunk in client.chat.completions.create(model="pace-60ms", messages=user("a b c d e f"), stream=True, extra_headers={"LLM-User": "x"}):
        times.append(time.monotonic())
    assert times[-1] - times[1] > 0.25, "the chunks came all at once"


TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


def test_tools_in_parallel(gateway, client):
    answer = client.chat.completions.create(model="assistant", messages=user("weather?"), tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert [json.loads(c.function.arguments)["city"] for c in calls] == ["Paris", "Oslo"]
    _, body = sent(gateway)
    assert body["tools"] == TOOLS and body["model"] == "gpt-4o"
    history = user("weather?") + [answer.choices[0].message.model_dump(exclude_none=True)]
    history += [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in calls]
    answer = client.chat.completions.create(model="assistant", messages=history, tools=TOOLS)
    assert answer.choices[0].message.content == "you said: weather?"


def test_tools_streamed(gateway, client):
    with client.chat.completions.with_streaming_response.create(model="assistant", messages=user("weather?"), tools=TOOLS, stream=True) as raw:
        arguments = {}
        for chunk in raw.parse():
            for c in chunk.choices[0].delta.tool_calls or []:
                arguments[c.index] = arguments.get(c.index, "") + (c.function.arguments or "")
    assert [json.loads(arguments[i])["city"] for i in (0, 1)] == ["Paris", "Oslo"]
    trace = gateway.trace(raw.headers["x-request-id"])
    calls = trace["response"]["choices"][0]["message"]["tool_calls"]
    assert [json.loads(c["function"]["arguments"])["city"] for c in calls] == ["Paris", "Oslo"]


def test_structured_output(gateway, client):
    import pydantic

    class Label(pydantic.BaseModel):
        label: str

    answer = client.chat.completions.parse(model="assistant", messages=user("x"), response_format=Label)
    assert answer.choices[0].message.parsed == Label(label="positive")


def test_image_and_unknown_fields_pass_untouched(gateway, client):
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]
    client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": content}], n=2, logprobs=True, extra_body={"x_new": {"a": [1.50, 1e3]}})
    request, body = sent(gateway)
    assert body["messages"][0]["content"] == content and body["n"] == 2 and body["logprobs"] is True
    assert '"x_new":{"a":[1.5,1000.0]}' in request["body"].replace(" ", "")


def test_embeddings(gateway, client):
    raw = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input=["a", "bb"], dimensions=8)
    assert [len(d.embedding) for d in raw.parse().data] == [8, 8]
    assert gateway.trace(raw.headers["x-request-id"])["usage"]["input_tokens"] == 3


def test_completions(client):
    assert client.completions.create(model="gpt-3.5-turbo-instruct", prompt="say it").choices[0].text == "you said: say it"


def test_responses(gateway, client):
    raw = client.responses.with_raw_response.create(model="gpt-4o", input="hi you", instructions="be brief")
    assert raw.parse().output_text == "you said: hi you"
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["usage"] == {"input_tokens": 7, "output_tokens": 5, "cached_input_tokens": 2, "cache_write_input_tokens": 0, "reasoning_output_tokens": 1, "estimated": False}


def test_responses_streamed(gateway, client):
    with client.responses.stream(model="assistant", input="hi you") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "you said: hi you"
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_responses_continue_on_their_variant(gateway, client):
    variants = set()
    answer = client.responses.with_raw_response.create(model="gpt-4", input="Classify sentiment: positive, negative, or neutral.\n\nText: x")
    first = answer.headers["llm-variant"]
    for _ in range(8):
        answer = client.responses.with_raw_response.create(model="gpt-4", input="and now?", previous_response_id=answer.parse().id,
                                                           extra_headers={"LLM-Prompt": "sentiment@production", "LLM-Prompt-Variables": '{"text": "x"}'})
        variants.add(answer.headers["llm-variant"])
    assert variants == {first}


def test_split_is_sticky_and_prompts_are_rendered(gateway, client):
    seen = {}
    for i in range(40):
        for _ in range(2):
            raw = client.chat.completions.with_raw_response.create(
                model="gpt-4", messages=user("Classify sentiment: positive, negative, or neutral.\n\nText: I love {{it}}"), user=f"user-{i}")
            seen.setdefault(f"user-{i}", set()).add(raw.headers["llm-variant"])
    assert all(len(v) == 1 for v in seen.values())
    assert {next(iter(v)) for v in seen.values()} == {"stable", "candidate"}
    for request in gateway.requests():
        body = json.loads(request["body"])
        text = body["messages"][0]["content"]
        if body["model"] == "gpt-4":
            assert text == "Classify sentiment: positive, negative, or neutral.\n\nText: I love {{it}}"
        else:
            assert body["model"] == "gpt-4o-mini"
            assert text == "Classify the sentiment of the text below in one lowercase word.\n\nText: I love {{it}}\n\nAnswer:"


@pytest.mark.parametrize("how", ["parameter", "header", "model"])
def test_prompt_named(gateway, client, how):
    extra = {}
    model = "gpt-4"
    if how == "parameter":
        extra = {"extra_body": {"prompt": {"id": "sentiment", "version": "2", "variables": {"text": "so so"}}}}
    elif how == "header":
        extra = {"extra_headers": {"LLM-Prompt": "sentiment/2", "LLM-Prompt-Variables": '{"text": "so so"}'}}
    else:
        extra = {"extra_headers": {"LLM-Prompt-Variables": '{"text": "so so"}'}}
        model = "sentiment/2"
    raw = client.chat.completions.with_raw_response.create(model=model, messages=[], **extra)
    assert raw.headers["llm-prompt"] == "sentiment/2" and raw.headers["llm-variant"] == "candidate"
    _, body = sent(gateway)
    assert body["messages"] == user("Classify the sentiment of the text below in one lowercase word.\n\nText: so so\n\nAnswer:")
    assert "prompt" not in body
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["prompt"] == {"name": "sentiment", "version": 2, "source": how} and trace["assignment"] == "pinned"
    assert trace["variables"] == {"text": "so so"}


def test_prompt_parameter_of_responses(gateway, client):
    raw = client.responses.with_raw_response.create(model="gpt-4", prompt={"id": "sentiment", "version": "1", "variables": {"text": "fine"}}, input="")
    assert raw.headers["llm-prompt"] == "sentiment/1"
    _, body = sent(gateway)
    assert "prompt" not in body and "Text: fine" in json.dumps(body["input"])


def test_missing_variable(gateway, client):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="gpt-4", messages=[], extra_headers={"LLM-Prompt": "sentiment"})
    assert "text" in e.value.message and not gateway.requests()


def test_parameters_adapted_to_a_reasoning_model(gateway, client):
    raw = client.chat.completions.with_raw_response.create(model="reasoner", messages=user("x"), temperature=0.2, max_tokens=50)
    _, body = sent(gateway)
    assert body["max_completion_tokens"] == 50 and body["reasoning_effort"] == "low"
    assert "temperature" not in body and "max_tokens" not in body
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["adjustments"] == ["max_tokens sent as max_completion_tokens", "temperature left out"]
    assert trace["parameters"]["max_completion_tokens"] == 50


@pytest.mark.parametrize("model,kind,status", [
    ("error-400", openai.BadRequestError, 400), ("error-404", openai.NotFoundError, 404), ("error-422", openai.UnprocessableEntityError, 422),
    ("error-429", openai.RateLimitError, 429), ("error-500", openai.InternalServerError, 500), ("error-503", openai.InternalServerError, 503)])
def test_provider_errors_reach_the_sdk(gateway, client, model, kind, status):
    with pytest.raises(kind) as e:
        client.chat.completions.create(model="openai/" + model, messages=user("x"))
    assert e.value.status_code == status and "fake error" in e.value.message
    assert PROVIDER_KEY not in str(e.value.body)
    trace = gateway.trace(e.value.response.headers["x-request-id"])
    assert trace["status"] == "error" and trace["http_status"] == status
    assert PROVIDER_KEY not in json.dumps(trace)


def test_our_key_refused_is_not_the_callers_affair(client):
    with pytest.raises(openai.InternalServerError) as e:
        client.chat.completions.create(model="openai/error-401", messages=user("x"))
    assert e.value.status_code == 502 and "fake" not in e.value.message


def test_unknown_model_names_what_there_is(gateway, client):
    import urllib.request

    request = urllib.request.Request(gateway.url + "/v1/chat/completions", b'{"messages":[]}', {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(request)
    assert e.value.code in (400, 404)
    assert "sentiment" in json.load(e.value)["error"]["message"]


def test_fallback(gateway, client):
    raw = client.chat.completions.with_raw_response.create(model="rescued", messages=user("help"))
    assert raw.parse().choices[0].message.content == "you said: help"
    assert raw.headers["llm-variant"] == "stable" and raw.headers["llm-attempts"] == "3"
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["assignment"] == "fallback" and [s["error_class"] for s in trace["spans"]] == ["connect", "connect", None]


def test_cut_stream_is_an_error_not_an_end(gateway, client):
    with pytest.raises((openai.APIError, openai.APIConnectionError)):
        with client.chat.completions.with_streaming_response.create(model="openai/cut", messages=user("a b c d"), stream=True) as raw:
            for _ in raw.parse():
                pass
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["status"] == "cut" and trace["usage"]["estimated"] and trace["usage"]["output_tokens"] > 0


@pytest.fixture
def own(gateway):
    """A client whose own credential goes to the provider."""
    gateway.requests()
    return openai.OpenAI(base_url=gateway.keyless + "/v1", api_key="sk-the-callers-own", max_retries=0, timeout=20)


def test_callers_own_credential(gateway, own):
    own.chat.completions.create(model="echo", messages=user("x"))
    request, _ = sent(gateway)
    assert request["header"]["Authorization"] == ["Bearer sk-the-callers-own"]
    own.chat.completions.create(model="openai/echo", messages=user("x"))
    request, _ = sent(gateway)
    assert request["header"]["Authorization"] == ["Bearer " + PROVIDER_KEY], "to no other provider"
    with pytest.raises(openai.AuthenticationError) as e:
        own.chat.completions.create(model="error-401", messages=user("x"))
    assert "fake error" in e.value.message


def test_provider_that_does_not_know_stream_options(gateway, own):
    for requests in (2, 1):  # the second time it is not asked
        chunks = list(own.chat.completions.create(model="old", messages=user("a b"), stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "you said: a b"
        assert len(gateway.requests()) == requests


def test_cancellation_reaches_the_provider(gateway, client):
    stream = client.chat.completions.create(model="openai/stall", messages=user("a b c d"), stream=True)
    for _ in stream:
        break
    request_id = stream.response.headers["x-request-id"]
    stream.close()
    for _ in range(40):
        if gateway_gone := [r for r in json_requests(gateway) if r["gone"]]:
            break
        time.sleep(0.05)
    assert gateway_gone, "the provider was not told within two seconds"
    assert gateway.trace(request_id)["status"] == "cancelled"


def json_requests(gateway):
    import urllib.request

    with urllib.request.urlopen(gateway.provider + "/__requests") as answer:
        return json.load(answer) or []


def test_client_timeout(gateway, client):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model="openai/silent", messages=user("x"))
    for _ in range(40):
        if any(r["gone"] for r in json_requests(gateway)):
            return
        time.sleep(0.05)
    raise AssertionError("the provider was not told within two seconds")


def test_sdk_retries_are_marked(gateway, client):
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=2).chat.completions.create(model="openai/error-503", messages=user("x"))
    assert len(gateway.requests()) == 2, "ours and not the SDK's on top of them: x-should-retry: false"


def test_models(client):
    models = [m.id for m in client.models.list()]
    assert models[0] == "assistant" and {"reasoner", "claude", "gpt-4"} <= set(models)
    assert client.models.retrieve("sentiment").owned_by == "route"


def test_other_endpoints_are_passed_through(gateway, client):
    assert client.get("/files", cast_to=object)["path"] == "/v1/files"
    request = gateway.requests()[0]
    assert request["header"]["Authorization"] == ["Bearer " + PROVIDER_KEY]


def test_feedback(gateway, client):
    raw = client.chat.completions.with_raw_response.create(model="assistant", messages=user("x"))
    request_id = raw.headers["x-request-id"]
    gateway.trace(request_id)
    client.post("/feedback", cast_to=object, body={"trace_id": request_id, "name": "thumbs", "value": True, "comment": "good"})
    feedback = gateway.trace(request_id)["feedback"]
    assert feedback[0]["name"] == "thumbs" and feedback[0]["value"] is True


def test_weights_are_in_force_for_the_next_request(gateway, client):
    def variants():
        return {client.chat.completions.with_raw_response.create(
            model="gpt-4", messages=user("Classify sentiment: positive, negative, or neutral.\n\nText: z"), user=f"w{i}").headers["llm-variant"] for i in range(30)}

    for weights, want in (({"stable": 0, "candidate": 100}, {"candidate"}), ({"stable": 100, "candidate": 0}, {"stable"}), ({"stable": 50, "candidate": 50}, {"stable", "candidate"})):
        status, route = gateway.api("POST", "/routes/sentiment/rollout/weights", {"weights": weights, "reason": "test"})
        assert status == 200 and route["weights"] == weights
        assert variants() == want
    status, error = gateway.api("POST", "/routes/sentiment/rollout/weights", {"weights": {"stable": 50, "candidate": 49}})
    assert status == 400 and error["error"]["code"] == "invalid" and "99" in error["error"]["message"]


def test_async_client(gateway):
    async def main():
        async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="x", max_retries=0) as c:
            answers = await asyncio.gather(*(c.chat.completions.create(model="assistant", messages=user(f"m{i}")) for i in range(50)))
            assert [a.choices[0].message.content for a in answers] == [f"you said: m{i}" for i in range(50)]
    asyncio.run(main())
