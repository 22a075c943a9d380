import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# The package as `make wheel` unpacks it.
PACKAGE = os.path.join(ROOT, "build", "python-package")
sys.path[:0] = [PACKAGE, os.path.dirname(os.path.abspath(__file__))]
