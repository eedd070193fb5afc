"""drkit completion."""

import click

from drkit.cli.wiring import World, wired
from drkit.errors import Exit

_EPILOG = """\b
Examples:
  drkit completion bash > /etc/bash_completion.d/drkit
  drkit completion zsh > ~/.zfunc/_drkit
  drkit completion fish > ~/.config/fish/completions/drkit.fish
"""


@click.command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@wired
def command(world: World, shell: str) -> int:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(root, {}, "drkit", "_DRKIT_COMPLETE").source()
    world.out.raw(script)
    world.out.document({"shell": shell, "script": script})
    return Exit.FINE
