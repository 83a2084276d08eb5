"""Practice providers on this machine: OpenRouter and Hugging Face on loopback, with faults on demand.

`script.py` is the language the faults are told in, `catalogue.py` the table of what they do (its shelves are the
`faults_*.py`), `runner.py` keeps count of which fault meets which request, `server.py` speaks HTTP. Must not know
LangChain, and costs nothing to import.
"""
