"""What the contract tests share with pytest: which of them this process may run."""

from __future__ import annotations

import os

# Whoever loads the emulated libraries has CUDA replaced for good. The folder `native` therefore runs in processes of its own,
# which test_native.py and tests/sanitize.py start with this variable set to the folder of the libraries.
collect_ignore = [] if "VRAMGUARD_TEST_LIBRARIES" in os.environ else ["native"]
