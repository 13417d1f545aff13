"""A model that answers many who ask at once.

`fields` and `asking` read what is asked for, `chat` in the shapes of OpenAI's chat completions, and `openapi` describes both;
`gate` bounds what is in memory, and `service` answers in batches, which fill while the model works.
"""
