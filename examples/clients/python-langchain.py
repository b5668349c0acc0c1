"""LangChain. The package below it reads OPENAI_BASE_URL and OPENAI_API_KEY by itself:

    pip install langchain-openai
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=… python examples/clients/python-langchain.py
"""

from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model="gpt-4o-mini")
print(llm.invoke("Say hello.").content)
