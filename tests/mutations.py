"""Change the code of the rules, one expression at a time, and run their tests: each change should make a test fail.

``make mutations`` runs every module of ``RULES``, which takes hours; ``make mutations MODULE=policy`` those whose path
contains the word. cosmic-ray makes the changes, in a copy of the working tree. The survivors, which are the changes
that no test noticed, are printed as differences. The exit code is 1 where more than ``MOST_SURVIVORS`` survive.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import servers

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache", ".hypothesis")
SECONDS_A_MUTATION = 120
MOST_SURVIVORS = 10.0  # percent; some changes are equivalent to the original
# Annotations like ``int | None`` are no operations, and a stronger comparison of integers is often equivalent.
OPERATORS_LEFT_OUT = ["core/ReplaceBinaryOperator_BitOr_.*", "core/RemoveDecorator", "core/.*_Is(Not)?$"]

RULES = {  # a module whose behaviour docs/compliance.md promises, and the tests that hold it to that
    "voiceauth/verification/policy.py": "tests/verification/test_policy.py",
    "voiceauth/verification/attempts.py": "tests/verification/test_attempts.py tests/verification/test_races.py",
    "voiceauth/verification/confirmations.py": "tests/verification/test_confirmations.py",
    "voiceauth/policies/document.py": "tests/policies",
    "enrollment/gate.py": "tests/enrollment/test_gate.py tests/enrollment/test_enrollments_api.py",
    "enrollment/lifecycle.py": "tests/enrollment/test_lifecycle.py tests/enrollment/test_lifecycle_properties.py",
    "voiceauth/screening/risk.py": "tests/screening",
    "voiceauth/screening/velocity.py": "tests/screening",
    "voiceauth/platform/audit/chain.py": "tests/platform/audit",
    "voiceauth/platform/vault/sealing.py": "tests/platform/test_vault.py tests/enrollment/test_keys.py",
    "voiceauth/platform/approvals/services.py": "tests/platform/approvals",
}

CONFIGURATION = """
[cosmic-ray]
module-path = ["{module}"]
timeout = {timeout}.0
excluded-modules = []
test-command = "{python} -m pytest -q -x --reuse-db -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = {operators}
"""


def main(word: str) -> int:
    """Run the rules whose module path contains ``word``. Return the exit code."""
    chosen = {module: tests for module, tests in RULES.items() if word in module}
    if not chosen:
        print(f"No module of the rules contains {word!r}. They are: {', '.join(RULES)}.")
        return 1
    servers.start()  # one PostgreSQL and one Redis for all of the runs
    with tempfile.TemporaryDirectory(prefix="voiceauth-mutations-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        weak = [module for module, tests in chosen.items() if not _holds(tree, Path(folder), module, tests)]
    for module in weak:
        print(f"More than {MOST_SURVIVORS} % of the changes to {module} go unnoticed, or its tests fail unchanged.")
    return 1 if weak else 0


def _holds(tree: Path, scratch: Path, module: str, tests: str) -> bool:
    configuration, session = scratch / "configuration.toml", scratch / "session.sqlite"
    configuration.write_text(
        CONFIGURATION.format(
            module=module,
            timeout=SECONDS_A_MUTATION,
            python=sys.executable,
            tests=tests,
            operators=OPERATORS_LEFT_OUT,
        )
    )
    session.unlink(missing_ok=True)
    print(f"== {module}, by {tests}", flush=True)
    commands: list[list[str | Path]] = [
        ["cosmic-ray", "init", configuration, session],
        ["cr-filter-operators", session, configuration],
        ["cosmic-ray", "baseline", configuration],  # the tests pass as long as nothing is changed
        ["cosmic-ray", "exec", configuration, session],
    ]
    if any(_run(tree, command) for command in commands):
        return False
    _run(tree, ["cr-report", "--surviving-only", "--show-diff", session])
    return _run(tree, ["cr-rate", "--fail-over", str(MOST_SURVIVORS), session]) == 0


def _run(tree: Path, command: list[str | Path]) -> int:
    tool = Path(sys.executable).parent / command[0]
    return subprocess.run([tool, *command[1:]], cwd=tree, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
