"""OpenAI's package for Python. It reads OPENAI_BASE_URL and OPENAI_API_KEY by itself:

    pip install openai
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=… python examples/clients/python-openai.py
"""

from openai import OpenAI

client = OpenAI()
answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}])
print(answer.choices[0].message.content)
