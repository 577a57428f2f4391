"""behavior.judge: an LLM labels four behaviours in traces, each with a quote that is found in the trace.

    prompt.py    what is asked, and how untrusted text is fenced      schema.py   what a reply must be
    chunks.py    long traces in parts                                 locate.py   quotes to offsets
    cache.py     every request and raw reply, append-only             budget.py   what may be spent
    client.py    one judgement from a server, with retries            select.py   which samples
    judge.py     the command: from runs to annotations                results.py  counts, shares, the table
    canaries.py  does the judge obey the traces?

Imports nothing heavy.
"""
