"""One file per command of `nova0`. `agent_run.py` is `nova0 agent run`.

A command's docstring is its help, its example and its page in docs/commands.md. It has
`configure(parser)`, `run(args) -> int`, and, where it prints data, `JSON = True`. Only the standard
library may be imported at the top: `nova0 --help` reads every file here.
"""
