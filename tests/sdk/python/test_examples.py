"""The clients of examples/clients, as a reader runs them: nothing but the base URL is set."""

import os
import pathlib
import subprocess
import sys

import pytest

CLIENTS = sorted((pathlib.Path(__file__).parents[3] / "examples" / "clients").glob("*.py"))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.stem)
def test_client(gateway, client):
    gateway.requests()
    env = dict(os.environ, OPENAI_BASE_URL=gateway.url + "/v1", OPENAI_API_KEY="sk-caller", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, client], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "you said: Say hello.\n"), done.stderr
    assert [r["path"] for r in gateway.requests()] == ["/v1/chat/completions"]


def test_there_are_clients():
    assert {c.stem for c in CLIENTS} == {"python-langchain", "python-openai"}
