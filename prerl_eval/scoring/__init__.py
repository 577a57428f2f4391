"""Log-probabilities of stored responses under any checkpoint: log P(y|x) and log P(y).

responses.py reads a run as token ids, batches.py cuts them into batches, logprobs.py scores a batch,
plan.py checks the input and
score.py does all of it for `prerl-eval score` and stores the result as annotations.
"""
