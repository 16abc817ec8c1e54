"""Print a script that completes commands and options in your shell.

Example:
    $ nova0 completion bash > ~/.local/share/bash-completion/completions/nova0
    $ nova0 completion zsh > ~/.zfunc/_nova0
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh"], help="the shell to write it for")


def run(args: argparse.Namespace) -> int:
    import shtab

    from nova0.cli.main import build_parser

    print(shtab.complete(build_parser(), shell=args.shell))
    return 0
