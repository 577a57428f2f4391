"""Prompts: a problem and a card rendered into the exact tokens that a checkpoint continues.

Covers the choice between chat template and plain text, the thinking switch, the start token and
the check that prompt and completion fit the model. Does not cover what a card asks (benchmarks/).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prerl_eval.choices import lettered
from prerl_eval.engines.base import Prompt
from prerl_eval.errors import UserError
from prerl_eval.grading.extract import THINKING

if TYPE_CHECKING:
    from prerl_eval.cards import Card
    from prerl_eval.checkpoint import Checkpoint
    from prerl_eval.problems import Problem

TEMPLATES = ("auto", "chat", "plain")
"""auto: the tokenizer's chat template where it has one, else plain text."""

THINKING_SWITCH = "enable_thinking"
"""The variable by which chat templates (Qwen3's first) let a caller open or close thinking."""

OPEN_THINKING = tuple(opening for opening, _ in THINKING)


def fill(template: str, problem: Problem, **more: str) -> str:
    """A card's template with {problem}, {options}, {shots} and {task} of a problem, and more, filled in.

    Other braces stand for themselves, and what is filled in is not searched again.
    """
    values = {
        "problem": problem.text,
        "options": lettered(problem.options),
        "shots": problem.shots,
        "task": str(problem.extra.get("task", "")),
        **more,
    }
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


class PromptBuilder:
    """Renders problems for one checkpoint; construct it before anything heavy, it checks the settings.

    system: a system message, or with plain prompts a text before the problem. thinking: None leaves
    the chat template's default. template: one of TEMPLATES. A remote model's prompts carry messages
    (or text, with "plain") and no token ids: its server renders them.
    Raises UserError for a setting that the tokenizer cannot follow. `notes` says what a reader of
    the run should know about its prompts.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        system: str | None = None,
        thinking: bool | None = None,
        template: str = "auto",
    ):
        self.checkpoint = checkpoint
        self.system = system
        self.thinking = thinking
        self.remote = checkpoint.tokenizer_path is None
        source = None if self.remote else self.tokenizer.chat_template
        self.chat = template == "chat" or (template == "auto" and (self.remote or bool(source)))
        if self.chat and not self.remote and not source:
            raise UserError(f"{checkpoint.ref} has no chat template; leave --template at auto or give plain")
        if thinking is not None:
            self._check_thinking()
        self.notes = self._notes()

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer (transformers). Raises UserError where it cannot be loaded."""
        from transformers import AutoTokenizer

        folder = self.checkpoint.tokenizer_path
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # the Rust code of tokenizers raises bare Exception
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"the tokenizer in {folder} cannot be loaded ({cause}); save it again") from error
        # Only a warning hangs on it: nothing here truncates, check_lengths does the refusing.
        tokenizer.model_max_length = int(1e12)
        return tokenizer

    @cached_property
    def start_id(self) -> int | None:
        """Id of the start token where the tokenizer puts one before a text by itself, else None."""
        start = self.tokenizer.bos_token_id
        with_specials, without = self.tokenizer("a").input_ids, self._encode("a")
        return start if start is not None and with_specials[:1] == [start] != without[:1] else None

    def render(self, problem: Problem, card: Card) -> Prompt:
        """The prompt of one problem, whole: nothing is cut."""
        asked = card.prompt if self.chat else card.plain_prompt or card.prompt
        return self.ask(fill(asked, problem))

    def stops(self, card: Card) -> tuple[str, ...]:
        """The strings that end a completion: a card's for plain prompts, none for chats.

        In a chat they could fire inside the thinking (lm-evaluation-harness#3700).
        """
        return () if self.chat else card.stop

    def ask(self, asked: str) -> Prompt:
        """The prompt that asks this text, as a chat's user or plainly."""
        if not self.chat:
            return self._render_plain(asked)
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = (*system, {"role": "user", "content": asked})
        if self.remote:
            return Prompt("\n\n".join(message["content"] for message in messages), None, messages)
        text = self._apply(messages, add_generation_prompt=True)
        ids = self._encode(text)
        if ids[:2] == [self.tokenizer.bos_token_id] * 2:  # open-r1#462
            text, ids = text.removeprefix(self.tokenizer.bos_token), ids[1:]
        return Prompt(text, tuple(ids), messages, opens_thinking=text.rstrip().endswith(OPEN_THINKING))

    def _render_plain(self, asked: str) -> Prompt:
        text = f"{self.system}\n\n{asked}" if self.system else asked
        if self.remote:
            return Prompt(text, None)
        ids = self._encode(text)
        if self.start_id is not None and ids[:1] != [self.start_id]:
            text, ids = self.tokenizer.bos_token + text, [self.start_id, *ids]
        return Prompt(text, tuple(ids), None, opens_thinking=text.rstrip().endswith(OPEN_THINKING))

    def tokens_of(self, prompt: str) -> tuple[int, ...]:
        """Token ids of the text of a prompt that was rendered before, by this tokenizer."""
        start = None if self.chat else self.start_id
        if start is not None and prompt.startswith(self.tokenizer.bos_token):
            return (start, *self._encode(prompt.removeprefix(self.tokenizer.bos_token)))
        return tuple(self._encode(prompt))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _apply(self, messages: Sequence[dict[str, str]], add_generation_prompt: bool) -> str:
        switch = {} if self.thinking is None else {THINKING_SWITCH: self.thinking}
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **switch
                )
            )
        except Exception as error:  # a template is a program, and not ours
            remedy = "leave out --system" if self.system else "give --template plain"
            raise UserError(
                f"the chat template of {self.checkpoint.ref} refuses: {error}; {remedy}"
            ) from error

    def _check_thinking(self) -> None:
        flag = "--thinking" if self.thinking else "--no-thinking"
        if self.remote:
            raise UserError(
                f"{flag} is the server's to set for {self.checkpoint.ref}: start it with that default "
                f"(vLLM: --default-chat-template-kwargs '{{\"{THINKING_SWITCH}\": ...}}')"
            )
        if not self.chat:
            raise UserError(f"{flag} needs a chat template and the prompts are plain; leave it out")
        if not re.search(rf"\b{THINKING_SWITCH}\b", self.tokenizer.get_chat_template()):
            raise UserError(
                f"the chat template of {self.checkpoint.ref} has no thinking switch; leave {flag} out"
            )

    def _notes(self) -> list[str]:
        if self.remote:
            return []
        if not self.chat:
            start = self.start_id
            first = (
                "no start token" if start is None else f"the start token {self.tokenizer.bos_token} ({start})"
            )
            return [f"plain prompts that begin with {first}, as the tokenizer does by itself"]
        turn_end = self._turn_end()
        if turn_end is None or turn_end in self.checkpoint.stop_ids().used:
            return []
        token = self.tokenizer.convert_ids_to_tokens(turn_end)
        return [
            f"the chat template ends a turn with {token} ({turn_end}), which no file names as a stop id: "
            "completions may run on; --template plain suits a base model"
        ]

    def _turn_end(self) -> int | None:
        """The special token that the template puts after an assistant's turn; None where it puts none."""
        answer = "ANSWER"
        turns = ({"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": answer})
        after = self._apply(turns, add_generation_prompt=False).rpartition(answer)[2]
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        return next((number for number in self._encode(after) if number in special), None)


def check_lengths(
    benchmark: str,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    max_tokens: int,
    context: int | None,
) -> None:
    """Refuse prompts that leave no room for max_tokens in the model's context, both in tokens.

    A prompt is never truncated, and neither is a completion below the limit that was asked for.
    Nothing is checked where the context is unknown or a server tokenizes. A prompt of no tokens is
    refused too: no model can continue it.
    Raises UserError naming the longest prompt and the largest max_tokens that fits all.
    """
    for problem, prompt in zip(problems, prompts, strict=True):
        if prompt.token_ids is not None and not prompt.token_ids:
            raise UserError(
                f"{benchmark}: the prompt of problem {problem.problem_id} has no tokens (its text: "
                f"{prompt.text!r}); mend the tokenizer's chat template, or give --template plain"
            )
    lengths = [len(prompt.token_ids or ()) for prompt in prompts]
    if context is None or not lengths or max(lengths) + max_tokens <= context:
        return
    longest = max(lengths)
    too_long = sum(length + max_tokens > context for length in lengths)
    room = context - longest
    remedy = (
        f"give --max-tokens {room} or less" if room > 0 else "this model cannot take this benchmark whole"
    )
    raise UserError(
        f"{benchmark}: {too_long} of {len(lengths)} prompts and {max_tokens} new tokens exceed the model's "
        f"context of {context} (problem {problems[lengths.index(longest)].problem_id}: {longest} tokens); "
        f"{remedy}"
    )
