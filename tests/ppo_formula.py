"""PPO written out by hand, one sample at a time, for the tests to compare with."""

import torch
from transformers import AutoModel, AutoModelForCausalLM

from tests.ppo_runs import reward_of


class Formula:
    """PPO on single samples, without batches, padding or anything of ours but the numbers in `args`."""

    def __init__(self, folder, samples, args):
        self.samples, self.args = samples, args
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.backbone = AutoModel.from_pretrained(folder)
        self.head = torch.nn.Linear(32, 1)

    def load(self, policy, critic):
        self.model.load_state_dict(policy)
        self.backbone.load_state_dict(
            {name.removeprefix("backbone."): v for name, v in critic.items() if "backbone" in name}
        )
        self.head.load_state_dict({"weight": critic["head.weight"], "bias": critic["head.bias"]})

    def log_probs(self, prompt, completion):
        logits = self.model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        return torch.stack([logits[len(prompt) + t - 1, token] for t, token in enumerate(completion)])

    def values(self, prompt, completion):
        hidden = self.backbone(torch.tensor([prompt + completion])).last_hidden_state[0]
        return torch.stack([self.head(hidden[len(prompt) + t - 1])[0] for t in range(len(completion))])

    @torch.no_grad()
    def rollout(self):
        """Log-probs, values, whitened advantages and returns at the weights of sampling."""
        args = self.args
        self.old = [(self.log_probs(*sample), self.values(*sample)) for sample in self.samples]
        decay = args.ppo_gamma * args.ppo_gae_lambda
        raw = []
        for (_, completion), (_, values) in zip(self.samples, self.old, strict=True):
            last = len(completion) - 1
            delta = [
                (reward_of(completion) if t == last else args.ppo_gamma * values[t + 1]) - values[t]
                for t in range(last + 1)
            ]
            sums = [sum(decay ** (u - t) * delta[u] for u in range(t, last + 1)) for t in range(last + 1)]
            raw.append(torch.stack(sums))
        self.returns = [found + values for found, (_, values) in zip(raw, self.old, strict=True)]
        every = torch.cat(raw)
        self.advantages = [
            (found - every.mean()) / (every.std(correction=0) + args.advantage_eps) for found in raw
        ]

    def losses(self, rows):
        """Policy's and critic's loss of an update on these rows; how many tokens each clip acts on."""
        args, policy, critic, clipped = self.args, [], [], [0, 0]
        for row in rows:
            (old, old_values), found, returns = self.old[row], self.advantages[row], self.returns[row]
            ratio = (self.log_probs(*self.samples[row]) - old).exp()
            bounded = ratio.clamp(1 - args.epsilon, 1 + args.epsilon)
            policy.append(-torch.minimum(ratio * found, bounded * found))
            clipped[0] += int((ratio * found > bounded * found).sum())
            values = self.values(*self.samples[row])
            near = old_values + (values - old_values).clamp(-args.ppo_value_clip, args.ppo_value_clip)
            far, wide = (near - returns) ** 2, (values - returns) ** 2
            critic.append(0.5 * torch.maximum(wide, far))
            clipped[1] += int((far > wide).sum())
        return torch.cat(policy).mean(), torch.cat(critic).mean(), clipped

    def gradients(self, policy, critic):
        """{name: gradient} of both, and their norms."""
        parts = {"": self.model}, {"backbone.": self.backbone, "head.": self.head}
        found = []
        for loss, group in zip((policy, critic), parts, strict=True):
            named = {prefix + n: v for prefix, m in group.items() for n, v in m.named_parameters()}
            grads = torch.autograd.grad(loss, list(named.values()))
            norm = torch.stack([grad.norm() for grad in grads]).norm().item()
            found.append((dict(zip(named, grads, strict=True)), norm))
        return found
