#!/usr/bin/env bash
# test_transformers.sh SOURCES GCA GCA_GOLDEN_CHECK: what gca exports is opened by the transformers library, with the same logits.
# PyTorch for Python takes 4 GB: the test is skipped where ./dev golden has not installed it.
set -euo pipefail

readonly sources=$1 packages=$1/.deps/oracle
if [[ ! -d $packages/transformers ]]; then
  echo "TEST_SKIPPED: there is no $packages/transformers; ./dev golden installs it"
  exit 0
fi
PYTHONPATH=$packages PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$sources/tests/golden/oracle/check_transformers.py" "$2" "$3"
