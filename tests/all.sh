#!/usr/bin/env bash
# The whole check, from a bare machine: `bash tests/all.sh`.
# PYTHON chooses the interpreter, VENV another place for the environment (default .venv; made and filled if need be).
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
VENV=${VENV:-.venv}
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT

die() { printf 'tests/all.sh: %s\n' "$*" >&2; exit 1; }

phase() { # phase "what is done" command...: one line with its seconds; the log only where it fails
  local what=$1 start=$SECONDS; shift
  if "$@" >"$tmp/log" 2>&1; then printf '%-52s ok %5ds\n' "$what" $((SECONDS - start))
  else
    tail -n 120 "$tmp/log"
    printf '%-52s FAILED %ds\n' "$what" $((SECONDS - start)); exit 1
  fi
}

make_venv() { # a folder that is there and holds no environment is somebody else's
  local p
  [ -e "$VENV" ] || [ -L "$VENV" ] && { echo "$VENV is there and holds no environment; remove it, or set VENV to another place."; return 1; }
  for p in ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
    "$p" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || continue
    "$p" -m venv "$VENV" && return
    rm -rf "$VENV"; echo "$p cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; return 1
  done
  echo "No Python 3.10, 3.11 or 3.12 among: ${PYTHON:-python3 python3.12 python3.11 python3.10}. Set PYTHON=/path/to/python."; return 1
}

install() {
  local get=(python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]")
  "${get[@]}" || { echo 'once more'; "${get[@]}"; }
}

sums() { # what nbdev-export and nbdev-clean must leave as it is
  find aclip nbs -type f \( -name '*.py' -o -name '*.ipynb' -o -name '*.yml' \) ! -path '*/.*' ! -path '*/_*/*' -exec cksum {} + | sort -k3
}

unchanged() { # unchanged "advice" command...: fails when the command fails or changes a file of sums
  local advice=$1; shift
  sums >"$tmp/before"; "$@" || return; sums >"$tmp/after"
  diff "$tmp/before" "$tmp/after" || { echo "$advice"; return 1; }
}

[ -x "$VENV/bin/python" ] || phase 'virtual environment' make_venv
VENV=$(cd "$VENV" && pwd) || die "no directory $VENV"
export VIRTUAL_ENV=$VENV PATH="$VENV/bin:$PATH"
unset PYTHONHOME PYTHONPATH
python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || die "$VENV has $(python --version); remove it, or set VENV"
now=$(cat settings.ini setup.py pyproject.toml constraints.txt | cksum)
if [ "$(cat "$VENV/.aclip-installed" 2>/dev/null)" != "$now $PWD" ]; then
  phase 'install (minutes, 6 GB, the first time)' install
  echo "$now $PWD" >"$VENV/.aclip-installed"
fi

# From here on no network, no display, and nothing is written into the home directory.
mkdir -p "$tmp/home"
export HOME="$tmp/home" HF_HUB_OFFLINE=1 MPLBACKEND=Agg PYTHONDONTWRITEBYTECODE=1
phase 'nbdev-export leaves aclip/ unchanged' unchanged 'aclip/ is not what the notebooks export: run nbdev-export and commit.' nbdev-export
phase 'nbdev-clean leaves the notebooks unchanged' unchanged 'Notebooks carry metadata of a run: run nbdev-clean and commit.' nbdev-clean
# Two workers of one thread each, for notebooks and tests: most of their time is imports and small models.
export OMP_NUM_THREADS=1
phase 'nbdev-test' nbdev-test --n-workers 2
phase 'docs: nbdev-proc-nbs, then every page linted' unchanged 'nbs/nbdev.yml is not what pyproject.toml says; commit the new one.' python tests/process_docs.py
echo pytest; python -m pytest -n 2 --dist worksteal
