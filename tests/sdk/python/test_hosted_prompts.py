"""Prompts that OpenAI hosted, imported from what its API answered, and called by an application that was never changed."""

import json

import openai
import pytest
from openai.types.responses import Response

ID = "pmpt_68b0e33b10988196b3452dce0bc38d190bcafb85e4681be3"


def response(version, **more):
    """An answer of OpenAI's to a call whose variables were set to themselves, as the package's own types have it."""
    return Response.model_validate({
        "id": "resp_" + version, "object": "response", "created_at": 1768560502, "status": "completed", "error": None, "incomplete_details": None,
        "model": "gpt-4.1-2025-04-14", "output": [], "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
        "instructions": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": f"Version {version}: answer for {{{{shop}}}}."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "{{question}}"}]}],
        "prompt": {"id": ID, "version": version, "variables": {"shop": "{{shop}}", "question": {"type": "input_text", "text": "{{question}}"}}},
        "text": {"format": {"type": "text"}}, "truncation": "disabled", "metadata": {}, **more}, strict=False)


@pytest.fixture(scope="module")
def imported(gateway):
    file = gateway.tmp / "prompts.json"
    file.write_text("\n".join(r.model_dump_json() for r in (
        response("2", temperature=0.3, max_output_tokens=200, model="gpt-4o"), response("1", tools=[{"type": "web_search"}]))))
    code, printed = gateway.cli("prompts", "import", "openai", str(file), "--name", ID + "=support_reply", "--dry-run")
    assert code == 0 and "would be registered" in printed, printed
    assert gateway.api("GET", "/prompts/support_reply")[0] == 404
    for result in ("registered", "unchanged"):
        code, printed = gateway.cli("prompts", "import", "openai", str(file), "--name", ID + "=support_reply", "--json")
        report = json.loads(printed)
        assert code == 0 and [(v["version"], v["prompt_version"], v["result"]) for v in report["items"]] == [(1, 1, result), (2, 2, result)]
        assert "web_search" in report["items"][0]["left_out"][0]
    return file


def ask(client, question="Where is it?", **prompt):
    return client.responses.with_raw_response.create(prompt={"id": ID, "variables": {"shop": "Acme", "question": question}, **prompt})


@pytest.mark.parametrize("prompt,version,model", [({"version": "1"}, 1, "gpt-4.1-2025-04-14"), ({"version": "2"}, 2, "gpt-4o"), ({}, 2, "gpt-4o")])
def test_by_openais_id(gateway, client, imported, prompt, version, model):
    raw = ask(client, **prompt)
    assert raw.headers["llm-prompt"] == f"support_reply/{version}" and raw.headers["llm-model"] == "openai/" + model
    assert raw.parse().output_text.endswith(".Where is it?")
    seen = gateway.requests()
    assert len(seen) == 1
    want = {"model": model, "input": [
        {"role": "developer", "content": f"Version {version}: answer for Acme."}, {"role": "user", "content": "Where is it?"}]}
    if version == 2:
        want |= {"temperature": 0.3, "max_output_tokens": 200}
    assert json.loads(seen[0]["body"]) == want
    trace = gateway.trace(raw.headers["x-request-id"])
    assert trace["prompt"] == {"name": "support_reply", "version": version, "source": "parameter"} and trace["variables"]["shop"] == "Acme"


def test_streamed(gateway, client, imported):
    events = list(client.responses.create(prompt={"id": ID, "version": "2", "variables": {"shop": "Acme", "question": "a b"}}, stream=True))
    assert events[-1].type == "response.completed" and events[-1].response.output_text.endswith(".a b")


def test_the_requests_own_parameters_win(gateway, client, imported):
    client.responses.create(prompt={"id": ID, "version": "2", "variables": {"shop": "s", "question": "q"}}, model="gpt-4o-mini", temperature=0.9, input="More.")
    body = json.loads(gateway.requests()[0]["body"])
    assert body["model"] == "gpt-4o-mini" and body["temperature"] == 0.9 and body["max_output_tokens"] == 200
    assert body["input"][-1] == {"role": "user", "content": "More."} and len(body["input"]) == 3


def test_unknown(gateway, client, imported):
    with pytest.raises(openai.NotFoundError) as e:
        client.responses.create(prompt={"id": "pmpt_nobody", "version": "1"})
    assert "caddy llm prompts import openai FILE" in e.value.message
    with pytest.raises(openai.NotFoundError) as e:
        ask(client, version="3")
    assert "1 (here 1), 2 (here 2)" in e.value.message and not gateway.requests()


@pytest.mark.parametrize("value", [
    {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}, {"type": "input_file", "file_id": "file-1"}])
def test_variables_are_text(gateway, client, imported, value):
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(prompt={"id": ID, "version": "1", "variables": {"shop": "s", "question": value}})
    assert value["type"] in e.value.message and e.value.param == "prompt.variables.question" and not gateway.requests()


def test_a_new_version_is_published_by_the_alias(gateway, client, imported):
    template = [{"role": "user", "content": "Ours: {{question}} {{shop}}"}]
    assert gateway.api("POST", "/prompts", {"name": "support_reply", "template": template, "model_config": {"model": "gpt-4o"}})[0] == 201
    assert ask(client).headers["llm-prompt"] == "support_reply/2"
    assert gateway.cli("prompts", "alias", "support_reply", "production", "3")[0] == 0
    assert ask(client).headers["llm-prompt"] == "support_reply/3"
    assert ask(client, version="2").headers["llm-prompt"] == "support_reply/2"
    assert gateway.cli("prompts", "alias", "support_reply", "production", "2")[0] == 0
