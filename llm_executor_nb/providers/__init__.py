"""One file per wire: what is sent to a provider, and how its reply becomes a message.

`transport` sends one request and gives back what came; `payload` and `parameters` make the body; `openrouter` and
`huggingface` know their own addresses and how LangChain reads their answers. URLs and Secrets come in as arguments.

Must not: retry, wait, judge a reply, read settings, or raise a provider's exception.
"""
