#!/bin/sh
# curl has no environment variable for this, so the address is in the command:
#
#     OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=… sh examples/clients/curl.sh
curl --silent --show-error --fail-with-body "$OPENAI_BASE_URL/chat/completions" \
	-H "Authorization: Bearer $OPENAI_API_KEY" \
	-H "Content-Type: application/json" \
	-d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}'
