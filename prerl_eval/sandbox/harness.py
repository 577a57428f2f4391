"""The program that runs inside the sandbox: a judge with the tests, and the model's program in its child.

Started as `python -S -B -c` with this source and those of wire.py and calls.py, it imports only what
starts fast. The two processes share nothing but two pipes. The child is forked before the tests are
read, so it cannot find them in its memory; the judge cannot be traced or read by it. The program
answers calls: the judge packs the arguments, the child packs the result, and only plain values survive
packing, so the comparison is made by the judge's own `==` on values that the judge built itself. A
status leaves through the judge's standard output, which the child does not have, with a number that
was drawn for this one run and that the child never saw.

Covers the judge and the child. Isolation and the wall clock are set from outside.
"""

from __future__ import annotations

import builtins
import ctypes
import os
import resource
import signal
import sys
import time

from prerl_eval.sandbox.calls import refuse_calls
from prerl_eval.sandbox.wire import pack, receive, send, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing would take longer to start than the rest of this one
    from collections.abc import Callable
    from typing import Any

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 3, 4, 38


class NotPython(BaseException):
    """The program does not compile."""


class ProgramDied(BaseException):
    """The child is gone, or says what no child of ours says; no test's `except Exception` takes it."""


# --- the child: the model's program ---------------------------------------------------------------


def serve(requests: int, replies: int) -> None:
    """Load the program and answer calls until nobody asks any more. Replies: R value, E name, S."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for number in range(3, 256):
        if number not in (requests, replies):
            try:
                os.close(number)
            except OSError:
                continue
    job = unpack(receive(requests) or b"N")
    set_limits(job["limits"])
    try:
        function = load(job)
    except NotPython:
        return send(replies, b"S")
    except BaseException as error:  # noqa: BLE001 - a model's program raises anything
        return send(replies, b"E" + type(error).__name__.encode())
    send(replies, b"RN")
    while (message := receive(requests)) is not None:
        send(replies, answer(function, message))
    return None


def load(job: dict[str, str]) -> Callable[..., Any]:
    """Run the program's own statements and find its function. Raises NotPython, or what the program raises.

    The prompt runs first, for its imports and helpers; the function that it only declares is taken
    out again.
    """
    module = type(sys)("program")
    sys.modules["program"] = module
    sys.argv = ["program.py"]
    sys.path[:] = [place for place in sys.path if place] + ([job["packages"]] if job["packages"] else [])
    space = module.__dict__
    try:
        code = compile(job["program"], "program.py", "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        raise NotPython from error
    run_prompt(job["prompt"], space)
    space.pop(job["entry_point"], None)
    exec(code, space)
    function: Callable[..., Any] = space[job["entry_point"]]
    return function


def run_prompt(prompt: str, space: dict[str, Any]) -> None:
    """A prompt of code runs as it stands where its last function has a docstring for a body."""
    try:
        exec(compile(prompt, "prompt.py", "exec"), space)
    except (SyntaxError, ValueError):
        return


def answer(function: Callable[..., Any], message: bytes) -> bytes:
    """Call the function: the reply to a packed (arguments, keywords)."""
    arguments, keywords = unpack(message)
    try:
        value = function(*arguments, **keywords)
    except BaseException as error:  # noqa: BLE001 - a model's program raises anything
        return b"E" + type(error).__name__.encode()
    try:
        return b"R" + pack(value)
    except BaseException:  # noqa: BLE001 - packing runs the value's own code
        return b"R?"


def set_limits(limits: dict[str, tuple[int, int]]) -> None:
    """limits: name of a resource ("RLIMIT_CPU") -> (soft, hard); a lower hard limit in force stays."""
    for name, (soft, hard) in limits.items():
        kind = getattr(resource, name)
        in_force = resource.getrlimit(kind)[1]
        if in_force != resource.RLIM_INFINITY:
            soft, hard = min(soft, in_force), min(hard, in_force)
        resource.setrlimit(kind, (soft, hard))


# --- the judge ------------------------------------------------------------------------------------


class Candidate:
    """The program's function as the tests see it: a call is a message to the child and its reply."""

    def __init__(self, requests: int, replies: int):
        self.requests, self.replies, self.calls = requests, replies, 0

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        """The result, rebuilt here; raises as `ask` does."""
        self.calls += 1
        return self.ask(pack((arguments, keywords)))

    def ask(self, message: bytes) -> Any:
        """The reply to a message. Raises ProgramDied, NotPython, or what the program raised."""
        try:
            send(self.requests, message)
            reply = receive(self.replies)
            if not reply:
                raise ProgramDied
            if reply[:1] == b"R":
                return unpack(reply[1:])
            name = reply[1:].decode()
        except Exception as error:  # bytes of a model's program
            raise ProgramDied from error
        if reply[:1] == b"S":
            raise NotPython
        # Tests may expect an exception by its name; none but an Exception passes from the child.
        known = getattr(builtins, name, Exception)
        ordinary = isinstance(known, type) and issubclass(known, Exception)
        raise (known if ordinary else Exception)(f"the program raised {name[:100]}")


def judge(job: dict[str, Any], candidate: Candidate, child: int) -> str:
    """Run the tests: "pass", "fail", "syntax" (the program is no Python), "timeout", "bad tests"."""
    try:
        code = compile(job["tests"], "tests.py", "exec")
    except (SyntaxError, ValueError):
        return "bad tests"
    if "random" in job["tests"]:
        import random

        random.seed(0)
    keys = ("program", "prompt", "entry_point", "packages")
    try:
        candidate.ask(pack({**{key: job[key] for key in keys}, "limits": job["program_limits"]}))
    except NotPython:
        return "syntax"
    except ProgramDied:
        return "timeout" if out_of_time(child, job) else "fail"
    except Exception:  # noqa: BLE001 - what the program raised
        return "fail"
    space: dict[str, Any] = {"__name__": "tests"}
    try:
        run_prompt(job["prompt"], space)
        space[job["entry_point"]] = candidate
        exec(code, space)
        if "check" in space:
            space["check"](candidate)
    except ProgramDied:
        return "timeout" if out_of_time(child, job) else "fail"
    except BaseException:  # noqa: BLE001 - a failed assertion, or a value that a test did not expect
        return "fail"
    return "pass" if candidate.calls else "bad tests"


def out_of_time(child: int, job: dict[str, Any]) -> bool:
    """Whether the child's CPU time ended it; it is killed where it lives on without its pipes.

    The limit counts whole ticks. Where a machine lends its cores out, that clock runs ahead of the
    time that was used, so a quarter of the limit is asked for beside the signal.
    """
    for _ in range(20):
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.wait4(child, 0)
        return False
    by_signal = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
    return by_signal and used.ru_utime + used.ru_stime >= job["program_limits"]["RLIMIT_CPU"][0] / 4


def main() -> None:
    """Fork the child, read the job, judge, say the status, end everything."""
    kernel = ctypes.CDLL(None)
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Another process of the same user can then neither trace this one nor read its memory.
    if kernel.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) or kernel.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0):
        sys.exit("the judge cannot protect its memory")
    join_keyring = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
    if join_keyring:  # no namespace hides the keys of the session that started all this
        kernel.syscall(join_keyring, 1, None)
    # Only in a sandbox is it the first process.
    if os.getpid() == 1 and not refuse_calls(kernel):
        sys.exit("the kernel does not filter system calls")
    # As the first process of its namespace it is deaf to every signal without a handler.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    (asked, requests), (replies, answered) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            serve(asked, answered)
        finally:
            os._exit(0)
    os.close(asked)
    os.close(answered)
    with open(0, "rb", closefd=False) as stream:
        job = unpack(stream.read())
    set_limits(job["judge_limits"])
    send(1, pack((job["nonce"], "begun")))
    status = judge(job, Candidate(requests, replies), child)
    send(1, pack((job["nonce"], status)))
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        os._exit(0)
    os._exit(0)


if __name__ == "__main__":
    main()
