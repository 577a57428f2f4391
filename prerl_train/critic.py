"""PPO's critic: the policy's layers with a scalar head, and what its loss is made of.

V(s_t) is the expected reward of a completion before its token t is chosen. Covers the module and
pure functions on (B, T) tensors. Does not cover advantages (advantages.py), nor when the critic is
asked, trained and saved (ppo.py).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from trl.trainer.utils import disable_dropout_in_model

Tensor = torch.Tensor


class Critic(torch.nn.Module):
    """Values of completion tokens, from a float32 copy of a policy's layers.

    policy: a transformers causal language model, or PEFT's wrapper of one; it is not changed. What
    is trainable in it is trainable here, and so is the head. Of an adapted policy that is the
    adapters; its frozen weights keep their precision.
    The head starts at 0: the first values are 0 whatever the layers say, and no random numbers are
    used. Dropout is off, because values at sampling and at the update must differ by training alone.
    """

    def __init__(self, policy: Any):
        super().__init__()
        adapted = hasattr(policy, "get_base_model")
        backbone = copy.deepcopy((policy.get_base_model() if adapted else policy).base_model)
        self.backbone = backbone if adapted else backbone.float()
        disable_dropout_in_model(self.backbone)
        width = self.backbone.config.get_text_config().hidden_size
        self.head = torch.nn.Linear(width, 1, device="meta").to_empty(device="cpu")
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self.train()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, tokens: int) -> Tensor:
        """(B, tokens): the value before each of the last `tokens` tokens.

        input_ids, attention_mask: (B, L) with L > tokens. Token t is predicted from position t - 1,
        and its state is read there too. The head works in float32 under autocast as well.
        """
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        before = states.last_hidden_state[:, -tokens - 1 : -1]
        with torch.autocast(before.device.type, enabled=False):
            values: Tensor = self.head(before.float()).squeeze(-1)
        return values


def final_rewards(rewards: Tensor, mask: Tensor) -> Tensor:
    """(B, T): each completion's reward at its last token, 0 elsewhere; a truncated one has it too.

    rewards: (B,). mask: (B, T), 1 on trained tokens; a row without any gets no reward.
    """
    counts = torch.arange(1, mask.size(1) + 1, device=mask.device)
    last = (mask.long() * counts).argmax(1, keepdim=True)
    placed = torch.zeros(mask.shape, dtype=rewards.dtype, device=mask.device)
    return placed.scatter(1, last, rewards[:, None]) * mask.to(rewards.dtype)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """0.5 * max((V - R)^2, (V_old + clamp(V - V_old, -clip, clip) - R)^2), (B, T) each.

    PPO's squared error (arXiv 1707.06347, eq. 9) with the clipping of the values that its authors'
    code adds (openai/baselines ppo2; arXiv 2005.12729, section 3): one update moves no value by more
    than `clip`.
    """
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())
