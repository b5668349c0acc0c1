"""LangChain's ChatOpenAI against a running gateway, nothing changed but its base_url."""

import asyncio
import json

import openai
import pydantic
import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def chat(gateway, model="assistant", **options):
    gateway.requests()
    return ChatOpenAI(model=model, base_url=gateway.url + "/v1", **{"api_key": "sk-caller", "max_retries": 0, "timeout": 20, **options})


def test_invoke(gateway):
    llm = chat(gateway, temperature=0, include_response_headers=True)
    answer = llm.invoke([SystemMessage("be brief"), HumanMessage("hello there")])
    assert answer.content == "you said: hello there"
    header = answer.response_metadata["headers"]
    assert header["llm-route"] == "assistant" and header["llm-model"] == "openai/gpt-4o"
    trace = gateway.trace(header["x-request-id"])
    assert trace["status"] == "ok" and trace["usage"]["input_tokens"] == answer.usage_metadata["input_tokens"]
    assert [m["role"] for m in trace["request"]["messages"]] == ["system", "user"]


def test_stream(gateway):
    llm = chat(gateway, default_headers={"LLM-Session": "langchain-stream"})
    assert "".join(c.content for c in llm.stream("one two three")) == "you said: one two three"
    with_usage = list(llm.stream("a b", stream_usage=True))
    assert sum((c.usage_metadata or {}).get("output_tokens", 0) for c in with_usage) == 4
    for trace in gateway.traces("session=langchain-stream", 2):
        assert trace["stream"] and trace["status"] == "ok" and trace["usage"]["output_tokens"] > 0


def test_batch(gateway):
    llm = chat(gateway, default_headers={"LLM-Session": "langchain-batch"})
    chain = ChatPromptTemplate.from_messages([("user", "say {word}")]) | llm | StrOutputParser()
    words = [f"w{i}" for i in range(12)]
    assert chain.batch([{"word": w} for w in words]) == [f"you said: say {w}" for w in words]
    assert asyncio.run(chain.abatch([{"word": w} for w in words])) == [f"you said: say {w}" for w in words]
    assert {t["status"] for t in gateway.traces("session=langchain-batch", 24)} == {"ok"}


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "sunny in " + city


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(gateway, streamed):
    llm = chat(gateway).bind_tools([get_weather])
    history = [HumanMessage("weather?")]
    if streamed:
        answer = None
        for chunk in llm.stream(history):
            answer = chunk if answer is None else answer + chunk
    else:
        answer = llm.invoke(history)
    assert [(c["name"], c["args"]) for c in answer.tool_calls] == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Oslo"})]
    results = [get_weather.invoke(c) for c in answer.tool_calls]
    assert all(isinstance(r, ToolMessage) for r in results)
    assert llm.invoke([*history, answer, *results]).content == "you said: weather?"
    sent = json.loads(gateway.requests()[-1]["body"])["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"] and sent[2]["content"] == "sunny in Paris"


def test_structured_output(gateway):
    class Label(pydantic.BaseModel):
        """The sentiment of a text."""

        label: str

    assert chat(gateway).with_structured_output(Label).invoke("I love it") == Label(label="positive")
    assert json.loads(gateway.requests()[0]["body"])["response_format"]["type"] == "json_schema"


def test_responses(gateway):
    assert chat(gateway, use_responses_api=True).invoke("hi you").text == "you said: hi you"


def test_embeddings(gateway):
    gateway.requests()
    e = OpenAIEmbeddings(model="text-embedding-3-small", base_url=gateway.url + "/v1", api_key="x", dimensions=8, check_embedding_ctx_length=False)
    assert [len(v) for v in e.embed_documents(["a", "bb"])] == [8, 8]


def test_a_prompt_is_recognised(gateway):
    """A template of LangChain's own renders what the registry recognises."""
    prompt = ChatPromptTemplate.from_messages([("user", "Classify sentiment: positive, negative, or neutral.\n\nText: {text}")])
    answer = (prompt | chat(gateway, "gpt-4", include_response_headers=True)).invoke({"text": "so so"})
    trace = gateway.trace(answer.response_metadata["headers"]["x-request-id"])
    assert trace["prompt"]["name"] == "sentiment" and trace["variables"] == {"text": "so so"}


def test_errors(gateway):
    with pytest.raises(openai.RateLimitError):
        chat(gateway, "openai/error-429").invoke("x")
    with pytest.raises(openai.InternalServerError):
        chat(gateway, "openai/error-503", max_retries=2).invoke("x")
    assert len(gateway.requests()) == 2, "ours and not the SDK's on top of them: x-should-retry: false"
