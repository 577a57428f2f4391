"""What a command says and how it exits when its flags are wrong, or a message holds line breaks."""

import sys

import pytest
import typer

from prerl_eval import cli
from prerl_eval.console import run_app
from prerl_eval.errors import UserError


def ending(monkeypatch, app, *words):
    monkeypatch.setattr(sys, "argv", ["prerl-eval", *words])
    with pytest.raises(SystemExit) as end:
        run_app(app, "prerl-eval")
    return end.value.code


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "--ckpt", "x", "--bench", "aime24", "--n", "many"], "'--n'"),
        (["run", "--bench", "aime24"], "'--ckpt'"),
        (["run", "--chekpoint", "x"], "--chekpoint"),
        (["passk"], "RUN..."),
        (["measure"], "measure"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(monkeypatch, capsys, words, named):
    assert ending(monkeypatch, cli.app, *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("prerl-eval: ")
    assert named in printed.err


def test_no_words_at_all_show_the_help(monkeypatch, capsys):
    ending(monkeypatch, cli.app)
    printed = capsys.readouterr()
    assert "Usage: prerl-eval" in printed.out
    assert printed.err == ""


def failing_app(error):
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    return app


def test_line_breaks_in_a_message_are_taken_out(monkeypatch, capsys):
    assert ending(monkeypatch, failing_app(UserError("no file a\nb; give another"))) == 2
    assert capsys.readouterr().err == "prerl-eval: no file a b; give another\n"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (typer.Exit(1), 1)])
def test_ctrl_c_and_a_command_s_own_exit_code(monkeypatch, capsys, error, code):
    assert ending(monkeypatch, failing_app(error)) == code
    assert capsys.readouterr().err == ("prerl-eval: interrupted\n" if code == 130 else "")
