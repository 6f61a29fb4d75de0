"""The one door, as a shell meets it: python -m lib."""

import subprocess
import sys

from lib.files import ROOT


def test_a_reader_that_has_read_enough_is_no_error():
    command = f"{sys.executable} -m lib plan rotated_mnist | head -n 1; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "") and found.stdout.count("\n") == 1


def test_without_the_extra_it_says_which():
    """None in sys.modules is how Python marks a module that cannot be imported."""
    code = "import sys; sys.modules['yaml'] = None; from lib.__main__ import main; sys.exit(main(['plan', 'timing']))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2 and found.stderr == "lib plan: yaml is not installed; the extra brings it: pip install -e '.[paper]'\n"


def test_help_names_every_command_and_imports_no_torch():
    code = "import sys; sys.modules['torch'] = None; from lib.__main__ import main; main(['--help'])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and not found.stderr
    assert all(f"\n    {command} " in found.stdout for command in ("data", "plan", "train", "time", "show", "verify"))
