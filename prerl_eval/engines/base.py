"""The protocol between a run and whatever samples its completions.

Covers the nouns (`Request`, `Sampling`, `Completion`) and the four methods of an engine. Does not
cover prompts (prerl_eval.prompts) or grading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prerl_eval.checkpoint import Checkpoint

Key = tuple[str, str, int]
"""(benchmark, problem_id, sample_index): what is asked for; unique within a run outside training."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt in every form that an engine may want.

    text: the exact string the model continues, special tokens included.
    token_ids: its tokens with exactly one start token where the model uses one; None when no
        tokenizer is at hand (a remote server).
    messages: the chat messages it was rendered from; None for a plain prompt.
    opens_thinking: the prompt ends inside an open thinking block, so the completion starts in one.
    """

    text: str
    token_ids: tuple[int, ...] | None
    messages: tuple[dict[str, str], ...] | None = None
    opens_thinking: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to sample.

    seed: 63-bit, derived from (run seed, benchmark, problem_id, sample_index); never a clock.
    max_tokens: completion tokens at most.
    """

    key: Key
    prompt: Prompt
    seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings, complete: an engine adds nothing of its own and nothing from a file.

    temperature: 0 means greedy.
    top_k: 0 means off.
    stop: strings that end a completion (not part of its text); normally none.
    stop_token_ids: ids that end a completion (see prerl_eval.checkpoint.stop_ids).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion.

    text: decoded without the special token that ended it; thinking tags are kept.
    token_ids: the sampled ids up to and including the stop token; None when the server hides them.
    tokens: their number (the server's count when ids are hidden).
    finish_reason: "stop" (a stop token or string), "length" (cut off), or the server's own word.
    seconds: wall time from submission to completion; in a batch, the batch's time.
    """

    text: str
    token_ids: tuple[int, ...] | None
    tokens: int
    finish_reason: str
    seconds: float


Finished = list[tuple[Request, Completion]]


class Engine(Protocol):
    """Samples completions for one checkpoint at a time.

    An engine is cheap to construct (imports and weights come with `load`), so that bad settings
    are found before anything heavy starts.
    """

    name: str

    def load(self, checkpoint: Checkpoint) -> None:
        """Start with this checkpoint, or swap its weights in when already started."""

    def describe(self) -> dict[str, Any]:
        """Device, dtype, parallelism, package versions, batch size: what run.json records."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, done: Callable[[Key], bool]
    ) -> Iterator[Finished]:
        """Yield completions as they finish, in lists that are stored atomically together.

        requests: the run's WHOLE request list of one benchmark in its fixed order, stored rows
            included; `done(key)` says which are stored. An engine whose bits depend on the batch
            partitions the whole list and yields only what is not done.
        """

    def close(self) -> None:
        """Free the device and end child processes; safe to call twice."""
