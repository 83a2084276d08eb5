"""Practice providers on this machine: OpenRouter and Hugging Face on loopback, with faults on demand.

`script.py` is the language of the faults, `catalogue.py` knows what each of them does (most are data in `faults.toml`),
`runner.py` decides which fault meets which request, `server.py` speaks HTTP. The room does not know LangChain (only
`fakes.py` does, and loads at first need), and importing it is cheap.
"""
