"What several test files share: the package as built and installed, away from the checkout."
import shutil, subprocess, sys
from pathlib import Path
import pytest
from hypothesis import settings

# The same examples in every run: a failure can be repeated.
settings.register_profile('repeatable', derandomize=True)
settings.load_profile('repeatable')

root = Path(__file__).resolve().parents[1]

def run(*cmd, **kw):
    "Standard output of a command that must succeed."
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, **kw)
    assert r.returncode == 0, f'{cmd}\n{r.stdout[-3000:]}\n{r.stderr[-3000:]}'
    return r.stdout

@pytest.fixture(scope='session')
def built(tmp_path_factory):
    "Folder with the sdist, and the wheel that was built from it."
    tmp = tmp_path_factory.mktemp('package')
    skip = shutil.ignore_patterns('.*', '_proc', '_docs', 'build', 'dist', 'runs', '*.egg-info', '__pycache__')
    shutil.copytree(root, tmp/'tree', symlinks=True, ignore=skip)
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp/'dist', tmp/'tree')
    return tmp/'dist'

@pytest.fixture(scope='session')
def wheel(built): return next(built.glob('*.whl'))

@pytest.fixture(scope='session')
def installed(wheel, tmp_path_factory):
    "Folder of the installed wheel alone; what it requires comes from the environment."
    tmp = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--disable-pip-version-check', '--target', tmp, wheel)
    return tmp
