"""The command as shells and logs meet it: help, completion, closed and narrow outputs; by real processes."""

import os
import pty
import subprocess
import sys

import pytest

from edgekit import cli

COMMAND = [sys.executable, "-m", "edgekit"]
COMMANDS = [
    ["convert"], ["compress"], ["sensitivity"], ["verify"], ["build"], ["inspect"], ["run"], ["benchmark"], ["compare"],
    ["report"], ["train"], ["doctor"], ["completion"], ["list"], ["list", "targets"], ["cache"], ["cache", "clear"],
]  # fmt: skip


def edgekit(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, timeout=300
    )


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_without_a_command_the_help_is_printed(arguments, capsys):
    assert cli.run(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith(" ".join(["Usage: edgekit", *arguments]))
    assert "Commands:" in said.out and said.err == ""


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_has_the_short_help_option(arguments, capsys):
    assert cli.run([*arguments, "-h"]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["Usage: edgekit", *arguments]))


@pytest.mark.parametrize(
    ("shell", "reads"), [("bash", "complete -o default"), ("zsh", "#compdef"), ("fish", "--command")]
)
def test_completion_is_printed_for_each_shell(shell, reads, capsys):
    assert cli.run(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert reads in said and "_EDGEKIT_COMPLETE=complete_" + shell in said


def test_no_other_shell_is_known(capsys):
    assert cli.run(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("edgekit conv", ["convert"]),
        ("edgekit convert lenet5 --target tflite-fp32,tflite-int8-", ["tflite-fp32,tflite-int8-dynamic"]),
        ("edgekit convert mobilenet_v2", ["mobilenet_v2"]),
        ("edgekit convert lenet5 --no-such", []),
    ],
)
def test_the_parser_itself_completes(line, found):
    words = line.split()
    done = edgekit(COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _EDGEKIT_COMPLETE="complete_bash")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, found, "")


def test_bash_takes_the_script(tmp_path):
    script = tmp_path / "completion"
    assert cli.run(["completion", "bash"]) == 0
    script.write_text(edgekit("completion", "bash").stdout)
    asked = f". {script}; complete -p edgekit"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_edgekit_completion" in done.stdout


def test_a_reader_that_has_had_enough_sees_no_traceback():
    with subprocess.Popen([*COMMAND, "list", "targets"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # before the first line comes
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_a_closed_output_is_no_bug_of_edgekit():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m edgekit list targets >&-"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_that_knows_ascii_alone_gets_escapes(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "größer.toml").write_text('schema = 1\ntitle = "größer"\n')
    said = edgekit("list", "targets", EDGEKIT_PATH=str(tmp_path), LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (said.returncode, said.stderr) == (0, "")
    assert "gr\\xf6\\xdfer" in said.stdout


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
def test_a_time_that_is_none_is_refused_before_any_work(seconds, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    assert cli.run(["convert", "lenet5@torch", "--target", "onnxruntime-fp32", f"--timeout={seconds}"]) == 2
    assert "--timeout" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def terminal(*arguments, **environment):
    """What a terminal gets, and how the command ends."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=child, stderr=child, stdin=child, env={**os.environ, **environment}
    ) as process:
        os.close(child)
        said = b""
        while True:
            try:
                chunk = os.read(parent, 4096)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            said += chunk
    os.close(parent)
    return process.returncode, said.decode().replace("\r\n", "\n")


def test_a_terminal_gets_columns_and_a_pipe_gets_tabs():
    code, said = terminal("list", "metrics")
    piped = edgekit("list", "metrics").stdout
    assert code == 0 and "\t" not in said
    assert [line.split() for line in said.splitlines()] == [line.split() for line in piped.splitlines()]
    assert {line.count("\t") for line in piped.splitlines()} == {3}
    assert "  " not in piped, "nothing is padded"


@pytest.mark.parametrize("environment", [{"COLUMNS": "20"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_narrow_and_colourless_terminals(environment):
    code, said = terminal("convert", "lenet6", "--target", "tflite-int8", **environment)
    assert code == 2 and "lenet5" in said and "Traceback" not in said
    code, said = terminal("convert", "-h", **environment)
    assert code == 0 and "--target" in said
    assert "\x1b" not in said
