"""Gradients of log-probs by plain autograd: what the alignment study is checked against."""

import torch


def ids(*numbers):
    return torch.tensor(numbers)


def by_hand(model, prefix, completion, weight=None):
    """The gradient of sum_t weight_t log p(y_t | prefix, y_<t) as one long vector, by plain autograd."""
    text = torch.cat([prefix, completion])
    logps = model(input_ids=text[None]).logits[0].log_softmax(-1)
    chosen = logps[torch.arange(len(prefix) - 1, len(text) - 1), completion]
    weights = torch.ones_like(chosen) if weight is None else weight
    found = torch.autograd.grad((weights * chosen).sum(), list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in found]), chosen.detach()


PROMPT, START = ids(1, 30, 31, 32, 33), ids(1)
COMPLETION = ids(50, 7, 7, 51, 52, 20, 50, 7, 9, 2)
