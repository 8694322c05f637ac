"""What ``manage.py`` and ``manage.py help`` show: our own commands, one line each."""

from django.core.management import get_commands, load_command_class

OURS = ("voiceauth.", "enrollment", "mltraining")


def commands() -> dict[str, str]:
    """Return the first sentence of the help text of each of our commands, by name."""
    names = {name: app for name, app in get_commands().items() if isinstance(app, str) and app.startswith(OURS)}
    texts = {name: load_command_class(app, name).help for name, app in sorted(names.items())}
    return {name: text.split(". ")[0].rstrip(".") + "." if text else "" for name, text in texts.items()}


def overview() -> str:
    """Return the commands as a table."""
    found = commands()
    width = max(map(len, found))
    lines = [f"  {name:<{width}}  {text}" for name, text in found.items()]
    more = "manage.py COMMAND --help shows a command's options; manage.py help --commands lists Django's commands, too."
    return "\n".join(["Commands of voiceauth:", "", *lines, "", more])
