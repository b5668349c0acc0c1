"""The clients of examples/clients, as a reader runs them: nothing but the base URL is set."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]
CLIENTS = sorted((ROOT / "examples" / "clients").glob("*.py"))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.stem)
def test_client(gateway, client):
    gateway.requests()
    env = dict(os.environ, OPENAI_BASE_URL=gateway.url + "/v1", OPENAI_API_KEY="sk-caller", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, client], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "you said: Say hello.\n"), done.stderr
    assert [r["path"] for r in gateway.requests()] == ["/v1/chat/completions"]


def test_there_are_clients():
    assert {c.stem for c in CLIENTS} == {"python-langchain", "python-openai"}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_guide_to_claude(gateway):
    """The program and the commands of docs/claude.md do what it says."""
    guide = (ROOT / "docs/claude.md").read_text().replace("http://127.0.0.1:8080", gateway.claude)
    program, = re.findall("```python\n(.*?)```", guide, re.S)
    assert run([sys.executable, "-c", program]) == "you said: Say hello.\n30 12\n"
    curls = [line for line in guide.splitlines() if line.startswith("curl ")]
    chat, message = (json.loads(run(["sh", "-c", line])) for line in curls)
    assert chat["choices"][0]["message"]["content"] == message["content"][0]["text"] == "you said: Say hello."
