"""The openai engine: any OpenAI-compatible server, many requests at a time, through its official client.

Prompts with messages go to chat completions, plain prompts to completions. Retries and backoff are
the client's own. Servers fill in what a request leaves open (vLLM takes top_k from the model's
generation_config.json), so every setting is sent; a server that refuses one that only restates its
default is asked again without it, and the log says so. Does not start servers.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prerl_eval.engines.base import Completion, Finished, Key, Request, Sampling
from prerl_eval.engines.streaming import BackgroundLoop
from prerl_eval.errors import RunStopped, UserError

if TYPE_CHECKING:
    from prerl_eval.checkpoint import Checkpoint

CONCURRENCY = 256
"""Requests in flight: what a vLLM server batches by default on one GPU."""

RETRIES = 5
"""The client's own retries per request (connection lost, 408, 409, 429, 5xx), with its backoff."""

LONGEST_ANSWER_SECONDS = 3600.0
"""For one completion, queueing at the server included."""

NOT_THE_API = (AttributeError, IndexError, TypeError, ValueError)
"""What the client, which checks no shapes, raises over a web page, broken JSON or another API's reply."""


class OpenAIEngine:
    """Samples from a server; see prerl_eval.engines.base.Engine.

    base_url: such as http://localhost:8000/v1; None takes OPENAI_BASE_URL. The key comes from
    OPENAI_API_KEY ("none" without it). concurrency: requests in flight. Raises UserError without
    an address.
    """

    name = "openai"

    def __init__(self, base_url: str | None = None, concurrency: int = CONCURRENCY):
        url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not url:
            raise UserError(
                "--engine openai needs --base-url (or OPENAI_BASE_URL), such as http://localhost:8000/v1"
            )
        self._url = url
        self._concurrency = concurrency
        self._model = ""
        self._client: Any = None
        self._loop = BackgroundLoop("openai")
        self._refused: frozenset[str] = frozenset()

    def load(self, checkpoint: Checkpoint) -> None:
        """Check that the server is there and serves the model; raises UserError where not."""
        from openai import AsyncOpenAI, Timeout

        if self._client is None:
            self._client = AsyncOpenAI(
                base_url=self._url,
                api_key=os.environ.get("OPENAI_API_KEY") or "none",
                max_retries=RETRIES,
                timeout=Timeout(LONGEST_ANSWER_SECONDS, connect=20.0),
            )
        self._model = checkpoint.ref
        self._refused = frozenset()
        self._loop.submit(check_model(self._client, self._url, self._model, "--ckpt")).result()

    def describe(self) -> dict[str, Any]:
        """Server address, model and concurrency; what the server runs on it does not tell."""
        return {
            "name": self.name,
            "base_url": self._url,
            "model": self._model,
            "concurrency": self._concurrency,
            "settings_not_taken": sorted(self._refused),
        }

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, done: Callable[[Key], bool]
    ) -> Iterator[Finished]:
        """The missing requests, as they finish. Raises RunStopped when the server fails for good."""
        missing = [request for request in requests if not done(request.key)]

        async def complete(request: Request) -> Completion:
            return await self._complete(request, sampling)

        yield from self._loop.stream(missing, complete, self._concurrency)

    def close(self) -> None:
        """Cancel what is in flight and close the connections; safe to call twice."""
        self._loop.close(self._client.close if self._client else None)
        self._client = None

    async def _complete(self, request: Request, sampling: Sampling) -> Completion:
        import openai

        start = time.perf_counter()
        while True:
            refused = self._refused
            fields = _fields(request, sampling, refused)
            try:
                answer = await self._ask(request, fields)
                return _completion(answer, time.perf_counter() - start)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                # Another request in flight may have learned it meanwhile.
                if refused == self._refused:
                    self._do_without(_refusable(reason_of(error), fields, sampling), error)
            except openai.APIConnectionError as error:
                raise RunStopped(
                    f"the server at {self._url} went away ({reason_of(error)}); stored rows are safe, "
                    "start it again and run the same command to go on"
                ) from error
            except openai.APIError as error:
                raise RunStopped(self._failure(error)) from error
            except NOT_THE_API as error:
                raise RunStopped(
                    f"{self._url} sent a reply that holds no completion ({reason_of(error)}); "
                    "stored rows are safe, the same command goes on from there"
                ) from error

    async def _ask(self, request: Request, fields: dict[str, Any]) -> Any:
        prompt = request.prompt
        if prompt.messages is None:
            return await self._client.completions.create(
                model=self._model, prompt=prompt.text, extra_body=fields
            )
        return await self._client.chat.completions.create(
            model=self._model, messages=list(prompt.messages), extra_body=fields
        )

    def _do_without(self, names: frozenset[str], error: Exception) -> None:
        if not names:
            raise RunStopped(self._failure(error)) from error
        self._refused |= names
        print(f"note: {self._url} does not take {', '.join(sorted(names))}: left out", file=sys.stderr)

    def _failure(self, error: Exception) -> str:
        return (
            f"{self._url} cannot answer ({reason_of(error)}); "
            "stored rows are safe, the same command goes on from there"
        )


async def check_model(client: Any, url: str, model: str, flag: str) -> None:
    """Ask the server behind an AsyncOpenAI client at `url` for its models.

    Raises UserError where nobody answers, the key is refused, it is no such server, or it lists
    models and `model` is not among them; `flag` is the option that names the model. A server
    without a list passes: its first request will tell.
    """
    from openai import APIConnectionError, APIError, AuthenticationError, PermissionDeniedError

    try:
        served = [entry.id async for entry in client.with_options(max_retries=1, timeout=20.0).models.list()]
    except APIConnectionError as error:
        raise UserError(f"no server answers at {url}; start it or correct --base-url") from error
    except (AuthenticationError, PermissionDeniedError) as error:
        raise UserError(f"{url} refuses the key; set OPENAI_API_KEY") from error
    except APIError:
        return
    except NOT_THE_API as error:
        raise UserError(
            f"{url} is no OpenAI-compatible server (its /models is no list of models); correct --base-url"
        ) from error
    if served and model not in served:
        more = f" and {len(served) - 20} more" if len(served) > 20 else ""
        raise UserError(f"{url} serves no {model}; give {flag} one of: {', '.join(served[:20])}{more}")


def _fields(request: Request, sampling: Sampling, refused: frozenset[str]) -> dict[str, Any]:
    """Every setting of a request by its name in the API or in vLLM's extension of it, less the refused."""
    fields: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": request.seed,
        # -1 is "off" to vLLM, SGLang and llama.cpp alike.
        "top_k": sampling.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "skip_special_tokens": False,
        "return_token_ids": True,
    }
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.stop_token_ids:
        fields["stop_token_ids"] = list(sampling.stop_token_ids)
    if "max_tokens" in refused:
        fields["max_completion_tokens"] = request.max_tokens
    return {name: value for name, value in fields.items() if name not in refused}


def _refusable(message: str, fields: dict[str, Any], sampling: Sampling) -> frozenset[str]:
    """The settings to leave out after a server refused them: those that it names, and that may go.

    What the user asked for may not go. A seed may: the rows are samples of the same distribution.
    """
    optional = {"seed", "min_p", "repetition_penalty", "skip_special_tokens", "return_token_ids"}
    if not sampling.top_k:
        optional.add("top_k")
    if "max_completion_tokens" in message:  # its name at servers that know no other any more
        optional.add("max_tokens")
    return frozenset(name for name in optional & set(fields) if re.search(rf"\b{name}\b", message))


def _completion(answer: Any, seconds: float) -> Completion:
    choice = answer.choices[0]
    token_ids = getattr(choice, "token_ids", None)
    text = _chat_text(choice.message) if hasattr(choice, "message") else choice.text or ""
    if not isinstance(text, str):
        raise TypeError(f"the text is a {type(text).__name__}")
    return Completion(
        text=text,
        token_ids=None if token_ids is None else tuple(token_ids),
        tokens=getattr(answer.usage, "completion_tokens", None) or len(token_ids or ()),
        finish_reason=choice.finish_reason or "",
        seconds=seconds,
    )


def _chat_text(message: Any) -> str:
    """The text as the model wrote it: servers with a reasoning parser split the thinking off."""
    thinking = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None)
    answer = message.content or ""
    if not thinking:
        return answer
    # Without an answer the thinking was cut off: it must not look closed.
    return f"<think>{thinking}</think>{answer}" if answer else f"<think>{thinking}"


def reason_of(error: Exception) -> str:
    """What the server said, in one line: frameworks put it in different places of the body."""
    body, response = getattr(error, "body", None), getattr(error, "response", None)
    said = body.get("message") if isinstance(body, dict) else None
    said = said or (response.text if response is not None else str(error))
    return " ".join(str(said).split())[:300] or type(error).__name__
