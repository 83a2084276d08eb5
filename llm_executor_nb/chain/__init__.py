"""The functions users call, the compiled chain, the session, the LangChain model."""
