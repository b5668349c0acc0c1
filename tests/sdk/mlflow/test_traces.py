import json
import os
import threading
import time

import mlflow

from conftest import PROMPT, wait


def search(client, experiment, filter_string=None, limit=100_000):
    """All traces of the experiment, without their spans."""
    found, token = [], None
    e = client.get_experiment_by_name(experiment)
    if e is None:
        return found
    while len(found) < limit:
        page = client.search_traces(locations=[e.experiment_id], filter_string=filter_string, max_results=500, include_spans=False, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    return found


def ids(traces):
    return [t.info.trace_id for t in traces]


def test_everything_is_shown_and_found(client, gateway):
    began = time.monotonic()
    request_id = gateway.ask(text=PROMPT.replace("{{text}}", "I love it"), temperature=0.5, user="ann",
                             headers={"LLM-Session": "s-1", "LLM-Tags": "team=ads,mlflow.traceName=forged"})
    trace_id = "tr-" + request_id
    wait("the trace does not come", lambda: ids(search(client, gateway.experiment)) == [trace_id], within=10)
    assert time.monotonic() - began < 3, "a trace is to be seen within seconds"
    wait("the link does not come", lambda: ids(search(client, gateway.experiment, 'prompt = "sentiment/2"')) == [trace_id], within=5)

    trace = client.get_trace(trace_id)
    info = trace.info
    assert info.tags["mlflow.traceName"] == "sentiment"
    assert info.state.value == "OK"
    assert json.loads(info.tags["mlflow.linkedPrompts"]) == [{"name": "sentiment", "version": "2"}]
    assert info.trace_metadata["mlflow.trace.session"] == "s-1"
    assert info.trace_metadata["mlflow.trace.user"] == "ann"
    assert info.token_usage["input_tokens"] > 0 and info.token_usage["output_tokens"] > 0
    cost = (info.token_usage["input_tokens"] * 1000 + info.token_usage["output_tokens"] * 2000) / 1e6
    assert abs(info.cost["total_cost"] - cost) < 1e-9
    assert info.tags["team"] == "ads" and info.tags["frontier.variant"] == "stable" and info.tags["frontier.status"] == "ok"
    assert info.request_preview == PROMPT.replace("{{text}}", "I love it")
    assert info.execution_duration > 0

    root, attempt = sorted(trace.data.spans, key=lambda s: s.start_time_ns)
    assert (root.name, root.span_type, root.parent_id) == ("sentiment", "CHAIN", None)
    assert root.inputs["messages"][0]["content"] == PROMPT.replace("{{text}}", "I love it") and root.inputs["model"] == "gpt-4"
    answer = root.outputs["choices"][0]["message"]["content"]
    assert answer and info.response_preview == answer
    assert (attempt.name, attempt.span_type, attempt.parent_id) == ("openai/gpt-4o-mini", "CHAT_MODEL", root.span_id)
    assert attempt.get_attribute("mlflow.llm.model").startswith("gpt-4o-mini")
    assert attempt.get_attribute("mlflow.llm.provider") == "openai"
    assert attempt.get_attribute("gen_ai.request.temperature") == 0.5
    assert attempt.outputs["choices"][0]["message"]["content"] == answer
    assert attempt.get_attribute("gen_ai.prompt.version") == "2"
    assert root.get_attribute("mlflow.llm.model") == "gpt-4o-mini", "not the name that the client asked for"

    other = "tr-" + gateway.ask(model="openai/error-400", text="no") # a direct call that fails
    wait("the second trace does not come", lambda: len(search(client, gateway.experiment)) == 2)
    for filter_string in (
        "attributes.name = 'sentiment'",
        "attributes.status = 'OK'",
        "metadata.`mlflow.trace.session` = 's-1'",
        "metadata.`mlflow.trace.user` = 'ann'",
        "tags.team = 'ads'",
        "tags.`frontier.route` = 'sentiment'",
        "tags.`frontier.variant` = 'stable'",
        "tags.`frontier.model` = 'openai/gpt-4o-mini'",
        "span.type = 'CHAIN' AND span.name = 'sentiment'",
        "span.attributes.gen_ai.prompt.name LIKE '%sentiment%'",
        "prompt = 'sentiment/2'",
        "trace.text LIKE '%I love it%'",
    ):
        assert ids(search(client, gateway.experiment, filter_string)) == [trace_id], filter_string
    failed = search(client, gateway.experiment, "attributes.status = 'ERROR'")
    assert ids(failed) == [other]
    event = [e for s in client.get_trace(other).data.spans for e in s.events]
    assert event and event[0].name == "exception"
    assert ids(search(client, gateway.experiment, "attributes.name = 'chat_completions'")) == [other]

    gateway.api("POST", f"/traces/{request_id}/feedback", {"name": "thumbs", "value": True, "comment": "right", "source": "bob"})
    assessments = wait("the feedback does not come", lambda: client.get_trace(trace_id).info.assessments)
    assert [(a.name, a.value, a.rationale, a.source.source_id) for a in assessments] == [("thumbs", True, "right", "bob")]
    assert ids(search(client, gateway.experiment, "feedback.thumbs = 'true'")) == [trace_id]


def test_attempts_streams_and_levels(client, gateway):
    rescued = "tr-" + gateway.ask(model="rescued", stream=True)
    bare = "tr-" + gateway.ask(headers={"LLM-Capture": "metadata"}, text="a secret of mine")
    wait("the traces do not come", lambda: len(search(client, gateway.experiment)) == 2)
    trace = client.get_trace(rescued)
    root, *broken, good = sorted(trace.data.spans, key=lambda s: (s.parent_id is not None, s.start_time_ns))
    assert trace.info.state.value == "OK"
    assert broken and all(s.status.status_code.value == "ERROR" and s.name == "dead/gpt-4o" for s in broken)
    assert good.status.status_code.value == "OK" and good.get_attribute("mlflow.chat.tokenUsage")
    assert root.outputs["choices"][0]["message"]["content"], "a stream is stored as the answer it amounts to"
    assert trace.info.tags["frontier.assignment"] == "fallback"
    trace = client.get_trace(bare)
    assert "secret" not in trace.to_json()
    assert trace.info.token_usage["input_tokens"] > 0


def test_outage(client, gateway, gate):
    """Nothing is lost while MLflow is away, nor when the gateway dies meanwhile."""
    count = int(os.environ.get("FRONTIER_MLFLOW_TRACES", 240))
    outage = float(os.environ.get("FRONTIER_MLFLOW_OUTAGE", 2))
    sent, lock = [], threading.Lock()

    def send(n):
        for _ in range(n):
            got = gateway.ask(text=PROMPT.replace("{{text}}", "so so"))
            with lock:
                sent.append("tr-" + got)

    def together(n):
        threads = [threading.Thread(target=send, args=(n // 4,)) for _ in range(4)]
        for t in threads:
            t.start()
        return threads

    began = time.monotonic()
    threads = together(count // 3) # is cut in the middle
    wait("no trace comes", lambda: gateway.exported()["exported"] > 0)
    gate.shut()
    try:
        for t in threads + together(count // 3):
            t.join()
        wait("no attempt fails", lambda: gateway.exported()["error"])
        time.sleep(max(0, outage - (time.monotonic() - began)))
        time.sleep(1.1) # the last flush
        gateway.kill()
        gateway.start()
        for t in together(count // 3):
            t.join()
    finally:
        gate.open()
    reopened = time.monotonic()
    wait("not all traces come", lambda: len(search(client, gateway.experiment)) >= len(sent), within=60 + count / 10)
    print(f"{len(sent)} traces were there {time.monotonic() - reopened:.1f}s after an outage of {reopened - began:.1f}s")
    found = search(client, gateway.experiment)
    assert len(found) == len(sent) == len(set(ids(found))) and set(ids(found)) == set(sent)
    for t in found:
        assert t.info.state.value == "OK" and t.info.tags["mlflow.traceName"] == "sentiment"
    wait("not all links come", lambda: len(search(client, gateway.experiment, 'prompt = "sentiment/2"')) == len(sent), within=30 + count / 10)
    usage = {t.info.token_usage["output_tokens"] for t in found}
    assert len(usage) == 1, "a trace that was sent twice must not count its tokens twice"


def test_reload_to_another_experiment(client, gateway):
    """Each trace is in one of the experiments, and none is lost."""
    stop, sent = threading.Event(), []

    def traffic():
        while not stop.is_set():
            sent.append("tr-" + gateway.ask())
            time.sleep(0.02)

    t = threading.Thread(target=traffic)
    t.start()
    time.sleep(1)
    after = gateway.experiment + "_2"
    gateway.write(experiment=after)
    gateway.reload()
    time.sleep(2)
    stop.set()
    t.join()
    found = lambda: ids(search(client, gateway.experiment)) + ids(search(client, after))
    wait("not all traces come", lambda: len(found()) >= len(sent))
    assert sorted(found()) == sorted(sent)
    assert search(client, gateway.experiment) and search(client, after)


def test_deleted_experiment_is_restored(client, gateway):
    gateway.ask()
    wait("the trace does not come", lambda: len(search(client, gateway.experiment)) == 1)
    client.delete_experiment(client.get_experiment_by_name(gateway.experiment).experiment_id)
    gateway.reload()
    gateway.ask()
    wait("the trace does not come", lambda: len(search(client, gateway.experiment)) == 2)
    assert mlflow.get_experiment_by_name(gateway.experiment).lifecycle_stage == "active"
