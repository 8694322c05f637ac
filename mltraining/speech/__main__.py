"""``python -m mltraining.speech``; see ``cli``."""

import sys

from mltraining.speech.cli import main

if __name__ == "__main__":
    sys.exit(main())
