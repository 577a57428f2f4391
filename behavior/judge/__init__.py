"""behavior.judge: an LLM labels four behaviours in traces, each with a quote that is found in the trace.

    judge.py     the command, in order        options.py  its flags, and what follows from them
    select.py    which samples                book.py     one run: requests to send, replies to rows
    prompt.py    what is asked                schema.py   what a reply must be
    chunks.py    long traces in parts         locate.py   quotes to offsets
    client.py    one judgement, with retries  cache.py    requests and raw replies, append-only
    budget.py    what may be spent            results.py  counts, shares, the table
    canaries.py  does the judge obey the traces?

Imports nothing heavy.
"""
