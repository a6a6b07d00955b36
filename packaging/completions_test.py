#!/usr/bin/python3
"""Laws of the completions, for every program whose description is given: bash offers, behind every command, its options and
subcommands and nothing else, and behind every option that has choices these, after a blank and after an equals sign. zsh,
where it is installed, completes an option, a choice and a subcommand.

usage: completions_test.py DESCRIPTION:BASH-COMPLETION:ZSH-COMPLETION..."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile

PATIENCE_S = 20.0

ASK_BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { :; }
"_${COMP_WORDS[0]//-/_}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def fail(message):
    sys.exit(f"FAILED: {message}")


def bash_offers(completion, *words):
    said = subprocess.run(["bash", "--norc", "-c", ASK_BASH, "bash", completion, *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False).stdout
    return sorted(line for line in said.splitlines() if line)


def commands_of(description, path=()):
    path = (*path, description["name"])
    yield path, description
    for subcommand in description["subcommands"]:
        yield from commands_of(subcommand, path)


def check_bash(description, completion):
    for path, command in commands_of(description):
        long_names = [name for option in command["options"] for name in option["names"] if name.startswith("--")]
        wanted = sorted(long_names + [subcommand["name"] for subcommand in command["subcommands"]])
        offered = bash_offers(completion, *path, "")
        # Programs of this machine are offered where a command of the user's own may stand.
        if command["runs_command"]:
            offered = [word for word in offered if word in wanted]
        if offered != wanted:
            fail(f"behind '{' '.join(path)}' bash offers {offered}, {wanted} are right")
        for option in command["options"]:
            name = option["names"][-1]
            if "choices" in option:
                for words in ((name, ""), (name, "="), (name, "=", "")):
                    if bash_offers(completion, *path, *words) != sorted(option["choices"]):
                        fail(f"behind '{' '.join((*path, *words))}' bash offers {bash_offers(completion, *path, *words)}")


class Zsh:
    """An interactive zsh that completes with the functions in a folder."""

    def __init__(self, folder):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM="dumb", ZDOTDIR=folder, HOME=folder, PS1="", FOLDER=folder)
            os.execvp("zsh", ["zsh", "-f", "-i"])
        # What is written before the line editor is there is echoed: it is cut out of the answers by the marks.
        self.write("fpath=($FOLDER $fpath); autoload -Uz compinit; compinit -u -D; unsetopt automenu listbeep\n"
                   "tell() { print -r -- \"BUF\"\"FER<$BUFFER>\"; BUFFER=; }; zle -N tell; bindkey '^P' tell\n"
                   "print REA\"\"DY\n")
        self.read("READY")

    def write(self, text):
        os.write(self.terminal, text.encode())

    def read(self, pattern):
        text = ""
        while True:
            match = re.search(pattern, text)
            if match:
                return match
            if not select.select([self.terminal], [], [], PATIENCE_S)[0]:
                fail(f"zsh does not say {pattern}: {text}")
            text += os.read(self.terminal, 4096).decode(errors="replace")

    def complete(self, text):
        self.write(f"{text}\t\x10")
        return self.read(r"BUFFER<([^>]*)>")[1].rstrip()


def check_zsh(completions):
    if shutil.which("zsh") is None:
        print("zsh is not installed: its completions are not tried (testing/setup --packages installs it)")
        return
    with tempfile.TemporaryDirectory() as folder:
        for description, path in completions:
            shutil.copy(path, os.path.join(folder, f"_{description['name']}"))
        zsh = Zsh(folder)
        for description, _ in completions:
            for path, command in commands_of(description):
                words = " ".join(path)
                expect(zsh, f"{words} --hel", f"{words} --help")
                for subcommand in command["subcommands"]:
                    expect(zsh, f"{words} {subcommand['name']}", f"{words} {subcommand['name']}")
                for option in command["options"]:
                    name = option["names"][-1]
                    for choice in option.get("choices", []):
                        expect(zsh, f"{words} {name}={choice[:-1]}", f"{words} {name}={choice}")


def expect(zsh, typed, wanted):
    got = zsh.complete(typed)
    if got != wanted:
        fail(f"zsh makes '{got}' of '{typed}', '{wanted}' is right")


def main():
    completions = []
    for argument in sys.argv[1:]:
        description_path, bash, zsh = argument.split(":")
        with open(description_path, encoding="utf-8") as file:
            description = json.load(file)
        check_bash(description, bash)
        completions.append((description, zsh))
    check_zsh(completions)
    print(f"completions of {len(completions)} programs")


if __name__ == "__main__":
    main()
