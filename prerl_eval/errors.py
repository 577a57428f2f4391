"""The two ways a command ends badly, told apart by what the user can do next.

Covers the exceptions that a command turns into one line and an exit code. Anything else that
escapes is a defect of prerl and keeps its traceback.
"""


class UserError(Exception):
    """Bad input: the message is one line naming the thing, the value and the remedy (exit code 2).

    Raised before anything is written; nothing that was stored is lost.
    """

    exit_code = 2


class RunStopped(Exception):
    """Work that could not go on (disk full, server gone, engine died): resumable (exit code 1)."""

    exit_code = 1
