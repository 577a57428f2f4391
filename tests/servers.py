"""Real OpenAI-compatible servers for tests, each in its own process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 240


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def transformers_server(model: Path, cache: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`transformers serve`: its address and process. It serves `model` under that path."""
    port = free_port()
    code = f"from transformers.cli.serve import Serve; Serve({str(model)!r}, port={port}, device='cpu')"
    with running([sys.executable, "-c", code], port, {"HF_HUB_CACHE": str(cache)}) as process:
        yield f"http://localhost:{port}/v1", process


@contextmanager
def vllm_server(model: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """vLLM's server on CPU, float32: its address and process."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    settings = ["--dtype", "float32", "--enforce-eager", "--port", str(port), *flags]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
    with running([*command, *settings], port, environment) as process:
        yield f"http://localhost:{port}/v1", process


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True)
    try:
        _wait_until_healthy(process, port)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                continue


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it answered")
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"the server did not answer within {START_SECONDS} s")
