"""What is sent to a provider, and how its reply becomes a message. URLs and Secrets come in as arguments.

A request: `parameters` and `messages` check, `payload` builds the body, `wires` says where it goes, `transport` sends
it through the `network`. A reply: `sse` and `events` read a stream; `tidy`, `calls` and `returned` put it into the form
that LangChain reads; `langchain` makes the message. `faults` says why there is no reply. `model_object` asks a chat
model object of the user's, and `foreign_errors` reads what it raises. `catalog` holds the free look-ups.

Must not: retry, wait, judge a reply, read settings, or raise a provider's exception.
"""
