#!/usr/bin/env python3
"""Writes prices.json.gz, LICENSE-genai-prices and testdata/cases.json.

The prices are the data of the Python package genai-prices (MIT). Run it from
internal/price, as `go generate` does: it installs the version below into a
throw-away virtual environment and runs itself again there. To take newer
prices, raise VERSION, run `go generate ./internal/price` and read the diff of
testdata/cases.json.

Needs Python 3.11 or later with venv, and pip's usual configuration.
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

VERSION = "0.2.3"

# genai-prices' names for what we price, and ours. All but the last are USD per
# million tokens; the last is USD per thousand calls. Left out: audio, images,
# video, pages and searches, which a gateway's token usage does not count, and
# the one-hour cache writes and service tiers, which it does not tell apart.
KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "output_reasoning_mtok": "reasoning",
    "requests_kcount": "calls",
}

# provider, model, time of the call, input, output, cached, written to the cache, reasoning
CASES = [
    ("openai", "gpt-4o-mini", "2026-01-15T12:00:00Z", 1000, 500, 0, 0, 0),
    ("openai", "gpt-4o-mini-2024-07-18", "2026-01-15T12:00:00Z", 1000, 500, 400, 0, 0),
    ("openai", "GPT-4o", "2026-01-15T12:00:00Z", 123457, 8901, 100000, 0, 0),
    ("openai", "gpt-4.1-nano", "2026-01-15T12:00:00Z", 1, 1, 0, 0, 0),
    ("openai", "gpt-5-mini-20250807", "2026-01-15T12:00:00Z", 2000, 3000, 1024, 0, 2500),
    ("openai", "o3", "2025-06-09T23:59:59Z", 1000000, 1000000, 0, 0, 0),
    ("openai", "o3", "2025-06-10T00:00:00Z", 1000000, 1000000, 0, 0, 0),
    ("openai", "o3", "2025-06-10T01:00:00+02:00", 1000000, 1000000, 0, 0, 0),
    ("openai", "gpt-5.6-sol", "2026-09-01T00:00:00Z", 272000, 1000, 200000, 0, 0),
    ("openai", "gpt-5.6-sol", "2026-09-01T00:00:00Z", 272001, 1000, 200000, 0, 0),
    ("openai", "text-embedding-3-small", "2026-01-15T12:00:00Z", 5000, 0, 0, 0, 0),
    ("openai", "gpt-3.5-turbo", "2026-01-15T12:00:00Z", 0, 0, 0, 0, 0),
    ("anthropic", "claude-3-5-haiku-20241022", "2026-01-15T12:00:00Z", 5000, 800, 3000, 1000, 0),
    ("anthropic", "claude-3-5-sonnet-latest", "2026-01-15T12:00:00Z", 5000, 800, 0, 0, 0),
    ("anthropic", "claude-opus-4-20250514", "2026-01-15T12:00:00Z", 1500, 700, 0, 1400, 0),
    ("anthropic", "claude-sonnet-4-6", "2026-03-12T23:00:00Z", 200001, 1000, 50000, 10000, 0),
    ("anthropic", "claude-sonnet-4-6", "2026-03-13T00:00:00Z", 200001, 1000, 50000, 10000, 0),
    ("google", "gemini-2.5-flash", "2026-01-15T12:00:00Z", 5000, 1200, 2000, 0, 900),
    ("google", "gemini-2.5-pro", "2026-01-15T12:00:00Z", 200000, 1000, 0, 0, 0),
    ("google", "gemini-2.5-pro", "2026-01-15T12:00:00Z", 200001, 1000, 100, 0, 0),
    ("gemini", "gemini-2.0-flash", "2026-01-15T12:00:00Z", 5000, 1200, 0, 0, 0),
    ("vertex", "claude-3-5-sonnet@20240620", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("azure", "gpt-4o-2024-08-06", "2026-01-15T12:00:00Z", 100, 200, 50, 0, 0),
    ("azure", "claude-3-5-haiku-20241022", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("deepseek", "deepseek-chat", "2026-01-15T00:29:59Z", 1000, 1000, 200, 0, 0),
    ("deepseek", "deepseek-chat", "2026-01-15T00:30:00Z", 1000, 1000, 200, 0, 0),
    ("deepseek", "deepseek-chat", "2026-01-15T16:30:00Z", 1000, 1000, 200, 0, 0),
    ("deepseek", "deepseek-v4-flash", "2026-08-16T02:00:00Z", 1000, 1000, 0, 0, 0),
    ("deepseek", "deepseek-v4-flash", "2026-09-09T12:00:00Z", 1000, 1000, 0, 0, 0),
    ("openrouter", "anthropic/claude-3.5-sonnet", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("openrouter", "openai/gpt-4o-mini", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("openrouter", "qwen/qwq-32b:free", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("perplexity", "sonar", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("perplexity", "sonar-deep-research", "2026-01-15T12:00:00Z", 100, 2000, 0, 0, 1500),
    ("groq", "llama-3.1-8b-instant", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("mistral", "mistral-large-latest", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("xai", "grok-3", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("cohere", "command-r-plus", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "2026-01-15T12:00:00Z", 100, 200, 0, 0, 0),
]


def number(d):
    return int(d) if d == d.to_integral_value() else float(d)


def clause(c):
    kind, value = next(iter(vars(c).items()))
    kind = kind.rstrip("_")
    if kind in ("or", "and"):
        return {kind: [clause(x) for x in value]}
    if kind == "regex":
        return regex(value)
    return {kind: value.lower()}


def regex(pattern):
    """Go has no look-ahead: ^(?!A)B becomes "not ^A and ^B"."""
    if pattern.startswith("^(?!"):
        depth = 1
        for end in range(4, len(pattern)):
            depth += {"(": 1, ")": -1}.get(pattern[end], 0)
            if depth == 0:
                break
        refused = {"not": {"regex": "^" + pattern[4:end]}}
        rest = pattern[end + 1 :]
        return {"and": [refused, regex("^" + rest)]} if rest else refused
    if "(?!" in pattern or "(?=" in pattern or "(?<" in pattern:
        raise SystemExit(f"cannot translate the regular expression {pattern!r}")
    return {"regex": pattern}


def rate(value):
    if hasattr(value, "tiers"):
        return {"base": number(value.base), "tiers": [[t.start, number(t.price)] for t in value.tiers]}
    return number(value)


def period(constraint, price, model_id):
    out = {}
    if hasattr(constraint, "start_date"):
        out["from"] = constraint.start_date.isoformat()
    elif constraint is not None:
        out["daily"] = [seconds(constraint.start_time), seconds(constraint.end_time)]
    priced = {k: v for k, v in vars(price).items() if v is not None}
    if not priced and model_id.endswith(":free"):
        return out | {"input": 0, "output": 0}
    # No price at all means free to genai-prices and unknown to us.
    return out | {name: rate(priced[key]) for key, name in KEYS.items() if key in priced}


def seconds(t):
    if t.utcoffset() is None or t.utcoffset().total_seconds() != 0 or t.microsecond:
        raise SystemExit(f"cannot translate the time of day {t!r}")
    return t.hour * 3600 + t.minute * 60 + t.second


def model(m):
    out = {"id": m.id, "match": clause(m.match)}
    if m.context_window:
        out["context_window"] = m.context_window
    conditions = m.prices if isinstance(m.prices, list) else None
    if conditions is None:
        out["prices"] = [period(None, m.prices, m.id)]
    else:
        out["prices"] = [period(c.constraint, c.prices, m.id) for c in conditions]
    return out


def provider(p):
    out = {"id": p.id}
    if p.provider_match is not None:
        out["match"] = clause(p.provider_match)
    if p.fallback_model_providers:
        out["fallback"] = list(p.fallback_model_providers)
    out["models"] = [model(m) for m in p.models]
    return out


def cases():
    import datetime

    import genai_prices

    for name, ref, at, inp, out, cached, written, reasoning in CASES:
        tokens = {
            "input_tokens": inp,
            "output_tokens": out,
            "cache_read_tokens": cached,
            "cache_write_tokens": written,
            "output_reasoning_tokens": reasoning,
        }
        got = genai_prices.calc_price(
            genai_prices.Usage(**{k: v for k, v in tokens.items() if v or k in ("input_tokens", "output_tokens")}),
            ref,
            provider_id=name,
            genai_request_timestamp=datetime.datetime.fromisoformat(at),
        )
        yield {
            "provider": name,
            "model": ref,
            "at": at,
            "input": inp,
            "output": out,
            "cached_input": cached,
            "cache_write_input": written,
            "reasoning": reasoning,
            "matched": got.model.id,
            "usd": float(got.total_price),
        }


def generate():
    import importlib.metadata

    from genai_prices.data import providers

    dist = importlib.metadata.distribution("genai-prices")
    source = f"genai-prices {dist.version}"
    data = json.dumps(
        {"source": source, "providers": [provider(p) for p in providers]},
        separators=(",", ":"),
        ensure_ascii=False,
    )
    # mtime 0: the same data gives the same file.
    pathlib.Path("prices.json.gz").write_bytes(gzip.compress(data.encode(), 9, mtime=0))

    text = next(f for f in dist.files if f.name == "LICENSE").read_text()
    pathlib.Path("LICENSE-genai-prices").write_text(
        f"prices.json.gz is made from the data of {source}, which comes under this licence:\n\n{text.strip()}\n"
    )

    rows = ",\n".join("    " + json.dumps(c) for c in cases())
    pathlib.Path("testdata/cases.json").write_text(
        "{\n"
        f'  "produced_by": "calc_price of the Python package {source}, by gen/generate.py",\n'
        f'  "cases": [\n{rows}\n  ]\n'
        "}\n"
    )


def main():
    if sys.argv[1:] == ["--installed"]:
        generate()
        return
    with tempfile.TemporaryDirectory() as venv:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        python = str(pathlib.Path(venv, "bin", "python"))
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"genai-prices=={VERSION}"], check=True)
        subprocess.run([python, __file__, "--installed"], check=True)


if __name__ == "__main__":
    main()
