#!/usr/bin/python3
"""Makes of what a program says of its command line (`PROGRAM --describe`, broker/cli/description.h) what a package has beside
the program: completions for bash and zsh, and the settings file with everything commented out.

usage: from_description.py bash|zsh|settings DESCRIPTION"""

import json
import re
import shlex
import sys
import textwrap

# Kinds of values that are names of files.
FILES = {"PATH", "FILE"}
COLUMNS = 100


def commands_of(description, path=()):
    """(words of the command, its description) of a program and all its subcommands."""
    yield path, description
    for subcommand in description["subcommands"]:
        yield from commands_of(subcommand, (*path, subcommand["name"]))


def is_file(option):
    """By the kind of its value, or because the default is a path."""
    return option.get("value") in FILES or option.get("default", "").startswith("/")


# ---- bash -------------------------------------------------------------------------------------------------------

BASH = r'''# Completion of {program} for bash, made from what the program takes.

_{function}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} option= command={program} word i
  # What may stand behind a command; what may be the value of an option of a command: words, or - for a file.
  local -A words=(
{words}
  )
  local -A values=(
{values}
  )
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${{COMP_WORDS[i]}}
    if [[ $word == "=" ]]; then
      continue
    elif [[ -n $option ]]; then
      option=
    elif [[ $word == -* ]]; then
      [[ -v values["$command $word"] ]] && option=$word
    elif [[ -v words["$command $word"] ]]; then
      command+=" $word"{of_other_word}
    fi
  done
  [[ $current == "=" ]] && current=
  if [[ -z $option ]]; then
    mapfile -t COMPREPLY < <(compgen -W "${{words["$command"]}}" -- "$current"){of_first_word}
  elif [[ ${{values["$command $option"]}} == "-" ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "${{values["$command $option"]}}" -- "$current")
  fi
}}
complete -F _{function} {program}
'''

# A program that runs a command of its own: the command begins at the first word that is no option. bash-completion has
# a function that completes it as its own completion would.
OF_OTHER_WORD = '''
    else
      if declare -F _command_offset >/dev/null; then
        _command_offset "$i"
      else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi
      return'''
OF_FIRST_WORD = '''
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -c -- "$current")'''


def bash(description):
    words, values = [], []
    for path, command in commands_of(description):
        key = " ".join((description["name"], *path))
        offered = [name for option in command["options"] for name in option["names"] if name.startswith("--")]
        offered += [subcommand["name"] for subcommand in command["subcommands"]]
        words.append(f"    [{shlex.quote(key)}]={shlex.quote(' '.join(offered))}")
        for option in command["options"]:
            if "value" not in option:
                continue
            offered = "-" if is_file(option) else " ".join(option.get("choices", []))
            values += [f"    [{shlex.quote(f'{key} {name}')}]={shlex.quote(offered)}"
                       for name in option["names"] if name.startswith("-")]
    program, runs_command = description["name"], description["runs_command"]
    return BASH.format(program=program, function=program.replace("-", "_"), words="\n".join(words),
                       values="\n".join(values), of_other_word=OF_OTHER_WORD if runs_command else "",
                       of_first_word=OF_FIRST_WORD if runs_command else "")


# ---- zsh --------------------------------------------------------------------------------------------------------


def zsh_text(text):
    """For the inside of brackets of _arguments."""
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def zsh_action(option):
    if "choices" in option:
        return f"({' '.join(option['choices'])})"
    return "_files" if is_file(option) else ""


def zsh_specification(option):
    """A word of _arguments for each name of an option, or for an argument."""
    text = zsh_text(option["description"])
    repeat = "*" if option["repeatable"] else ""
    for name in option["names"]:
        if not name.startswith("-"):
            # An argument of which nothing is known would be in the way of options.
            if zsh_action(option):
                yield f"{repeat}:{zsh_text(name)}:{zsh_action(option)}"
        elif "value" not in option:
            yield f"{repeat}{name}[{text}]"
        else:
            sign = "=" if name.startswith("--") else "+"
            yield f"{repeat}{name}{sign}[{text}]:{zsh_text(option['value'])}:{zsh_action(option)}"


def zsh_function(program, path, command):
    function = "_" + "_".join((program, *path))
    specifications = [word for option in command["options"] for word in zsh_specification(option)]
    lines = [f"{function}() {{"]
    if command["subcommands"]:
        specifications += ["1: :->command", "*:: :->rest"]
        lines.append("  local curcontext=$curcontext state line")
        lines.append("  typeset -A opt_args")
    elif command["runs_command"]:
        specifications.append("*:::command:_normal")
    lines.append("  _arguments -C \\")
    lines += [f"    {shlex.quote(word)} \\" for word in specifications[:-1]]
    lines.append(f"    {shlex.quote(specifications[-1])}")
    if command["subcommands"]:
        described = " ".join(shlex.quote(f"{one['name']}:{one['description']}") for one in command["subcommands"])
        lines += ["  case $state in", "    command)", f"      local -a commands=({described})",
                  "      _describe command commands", "      ;;", "    rest)", "      case $line[1] in"]
        lines += [f"        {one['name']}) {function}_{one['name']} ;;" for one in command["subcommands"]]
        lines += ["      esac", "      ;;", "  esac"]
    lines.append("}")
    return "\n".join(lines)


def zsh(description):
    program = description["name"]
    functions = [zsh_function(program, path, command) for path, command in commands_of(description)]
    return (f"#compdef {program}\n# Completion of {program} for zsh, made from what the program takes.\n\n"
            + "\n\n".join(functions) + f'\n\n_{program} "$@"\n')


# ---- The settings file ------------------------------------------------------------------------------------------

SETTINGS = """# Settings of gpu-broker: see gpu-broker-config(5). What is not set has the value that is shown here.
# A file of your own, config.toml.d/NAME.toml, counts more than this one and is in no upgrade's way.
# gpu-broker --check-config says what is wrong.
"""


def toml_value(option):
    if "value" not in option:
        return "false"
    default = option.get("default", "")
    if option["repeatable"]:
        return "[]"
    return default if default.isdigit() else json.dumps(default)


def settings(description):
    text = SETTINGS
    for option in description["options"]:
        if option["setting"] and option["names"][-1].startswith("--"):
            said = option["description"]
            if "choices" in option and not all(choice in said for choice in option["choices"]):
                said += ": " + ", ".join(option["choices"])
            text += "\n" + textwrap.fill(said + ".", COLUMNS, initial_indent="# ", subsequent_indent="# ")
            text += f"\n#{option['names'][-1][len('--'):]} = {toml_value(option)}\n"
    return text


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("bash", "zsh", "settings"):
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as file:
        description = json.load(file)
    print({"bash": bash, "zsh": zsh, "settings": settings}[sys.argv[1]](description), end="")


if __name__ == "__main__":
    main()
