import json

import mlflow

from conftest import PROMPT, wait
from test_traces import ids, search

CHAT = [{"role": "system", "content": "You classify."}, {"role": "user", "content": "Classify: {{text}}"}]
SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}


def rows(output):
    return {(r["prompt"], r.get("alias"), r["version"], r["mlflow_version"]): r["state"] for r in json.loads(output)}


def test_import(client, gateway, server):
    name = "imported"
    mlflow.genai.register_prompt(name=name, template="Classify {{text}} in a word.", commit_message="first", tags={"team": "ads"})
    mlflow.genai.register_prompt(name=name, template=CHAT, commit_message="as chat", response_format=SCHEMA,
                                 model_config={"provider": "openai", "model_name": "gpt-4o", "temperature": 0.5, "stop_sequences": ["\n"], "extra_params": {"seed": 7}})
    mlflow.genai.set_prompt_alias(name, "production", 1)
    mlflow.genai.register_prompt(name="logic", template="{% if a %}Say {{ a }} and more of it.{% endif %}")

    dry = gateway.command("prompts", "import", "mlflow", server.url, name, "--dry-run")
    assert "would be imported" in dry and all(p["name"] != name for p in gateway.api("GET", "/prompts")["items"])
    gateway.command("prompts", "import", "mlflow", server.url, name)
    first = gateway.api("GET", f"/prompts/{name}/versions/1")
    assert first["template"] == "Classify {{text}} in a word." and first["commit_message"] == "first"
    assert first["tags"]["team"] == "ads" and first["tags"]["mlflow.version"] == "1" and first["aliases"] == ["production"]
    second = gateway.api("GET", f"/prompts/{name}/versions/2")
    assert second["type"] == "chat" and second["template"] == CHAT and second["response_format"] == SCHEMA
    assert second["model_config"] == {"model": "openai/gpt-4o", "temperature": 0.5, "stop": ["\n"], "seed": 7}
    assert gateway.api("GET", f"/prompts/{name}")["tags"]["team"] == "ads"

    again = rows(gateway.command("prompts", "import", "mlflow", server.url, name, "--json"))
    assert set(again.values()) == {"the same"} and len(again) == 3, again

    # An alias that differs is left, unless it is to be moved.
    mlflow.genai.set_prompt_alias(name, "production", 2)
    assert "left at version 1" in gateway.command("prompts", "import", "mlflow", server.url, name)
    gateway.command("prompts", "import", "mlflow", server.url, name, "--move-aliases")
    assert gateway.api("GET", f"/prompts/{name}")["aliases"] == {"production": 2}

    # Somebody changes what should be immutable.
    client.set_prompt_version_tag(name, "1", "mlflow.prompt.text", "Another text with {{text}} in it.")
    drift = gateway.command("prompts", "import", "mlflow", server.url, name, code=1)
    assert "changed in MLflow" in drift and "somebody changed them there" in drift
    gateway.command("prompts", "import", "mlflow", server.url, name, "--update")
    assert gateway.api("GET", f"/prompts/{name}/versions/3")["template"] == "Another text with {{text}} in it."
    assert gateway.api("GET", f"/prompts/{name}/versions/1")["template"] == "Classify {{text}} in a word."
    again = rows(gateway.command("prompts", "import", "mlflow", server.url, name, "--json"))
    assert again[(name, None, 3, 1)] == "the same", again

    assert "Jinja" in gateway.command("prompts", "import", "mlflow", server.url, "logic")
    assert "MLflow has no such prompt" in gateway.command("prompts", "import", "mlflow", server.url, "nowhere", code=1)


def test_export_and_link(client, gateway, server):
    name = "exported"
    # A number is taken there already, so that theirs differ from ours.
    mlflow.genai.register_prompt(name=name, template="Something of theirs about {{topic}}.")
    gateway.api("POST", "/prompts", {"name": name, "template": PROMPT + " ({{language}})", "commit_message": "first", "tags": {"quality": "0.9"}})
    gateway.api("POST", "/prompts", {"name": name, "template": CHAT, "response_format": SCHEMA,
                                     "model_config": {"model": "openai/gpt-4o", "temperature": 0.5, "stop": ["\n"], "seed": 7}})
    gateway.api("PUT", f"/prompts/{name}/aliases/production", {"version": 2})
    assert "would be exported" in gateway.command("prompts", "export", "mlflow", server.url, name, "--dry-run")
    out = rows(gateway.command("prompts", "export", "mlflow", server.url, name, "--json"))
    assert out == {(name, None, 1, 2): "exported", (name, None, 2, 3): "exported", (name, "production", 2, 3): "set"}, out

    text = mlflow.genai.load_prompt(f"prompts:/{name}/2")
    assert text.template == PROMPT + " ({{language}})" and text.commit_message == "first"
    assert text.tags["quality"] == "0.9" and text.tags["frontier.version"] == "1"
    chat = mlflow.genai.load_prompt(f"prompts:/{name}@production")
    assert chat.version == 3 and chat.template == CHAT and chat.response_format == SCHEMA
    assert chat.model_config["provider"] == "openai" and chat.model_config["model_name"] == "gpt-4o" and chat.model_config["stop_sequences"] == ["\n"]
    assert chat.format(text="x")[1]["content"] == "Classify: x"

    again = rows(gateway.command("prompts", "export", "mlflow", server.url, name, "--json"))
    assert set(again.values()) == {"the same"}, again
    back = rows(gateway.command("prompts", "import", "mlflow", server.url, name, "--json"))
    assert back[(name, None, 1, 2)] == back[(name, None, 2, 3)] == "the same" and back[(name, None, 3, 1)] == "imported", back

    # A call that is made with the prompt is linked with MLflow's own number.
    body_id = gateway.ask(model="openai/gpt-4o-mini", text="more", headers={"LLM-Prompt": f"{name}/2", "LLM-Prompt-Variables": '{"text": "x"}'})
    wait("the trace is not linked", lambda: ids(search(client, gateway.experiment, f'prompt = "{name}/3"')) == ["tr-" + body_id])
    linked = json.loads(client.get_trace("tr-" + body_id).info.tags["mlflow.linkedPrompts"])
    assert linked == [{"name": name, "version": "3"}]

    client.set_prompt_version_tag(name, "2", "mlflow.prompt.text", "overwritten, alas, with {{text}}")
    assert "changed in MLflow" in gateway.command("prompts", "export", "mlflow", server.url, name, code=1)


def test_credentials_and_mistakes(gateway, server):
    assert "MLFLOW_TRACKING_URI" in gateway.command("prompts", "import", "mlflow", code=2)
    out = gateway.command("prompts", "export", "mlflow", "http://127.0.0.1:9", "sentiment", code=1)
    assert "connection refused" in out
    assert "there is no such prompt here" in gateway.command("prompts", "export", "mlflow", server.url, "nowhere", code=1)
