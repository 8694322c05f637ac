#!/usr/bin/env python
"""Django's command line. Attaches to the embedded servers where none is configured."""

import os
import sys


def main() -> None:
    """Show our commands, or run the one that is named."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")
    from voiceauth.launcher import embedded

    embedded.attach(sys.argv)

    if sys.argv[1:] in ([], ["help"], ["--help"], ["-h"]):
        import django

        django.setup()
        from voiceauth.launcher.overview import overview

        sys.stdout.write(f"{overview()}\n")
        return
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
