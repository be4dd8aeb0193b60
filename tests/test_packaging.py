"An sdist and a wheel build from the tree, hold what they should, and work away from the checkout."
import os, re, shutil, subprocess, sys, tarfile, zipfile
from configparser import ConfigParser
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
import pytest

root = Path(__file__).resolve().parents[1]
modules = sorted(p.relative_to(root).as_posix() for p in (root/'aclip').rglob('*.py'))
assets = sorted(p.relative_to(root).as_posix() for p in (root/'aclip/assets').glob('*.safetensors'))
HEAVY = {'torch', 'torchvision', 'fastai', 'timm', 'open_clip', 'matplotlib', 'scipy'}
needs_cli = pytest.mark.skipif(not (root/'aclip/cli.py').exists(), reason='aclip/cli.py is not written yet')

def run(*cmd, **kw):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, **kw)
    assert r.returncode == 0, f'{cmd}\n{r.stdout[-3000:]}\n{r.stderr[-3000:]}'
    return r.stdout

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "Folder with the sdist, and the wheel that was built from it."
    tmp = tmp_path_factory.mktemp('package')
    skip = shutil.ignore_patterns('.*', '_proc', '_docs', 'build', 'dist', 'runs', '*.egg-info', '__pycache__')
    shutil.copytree(root, tmp/'tree', symlinks=True, ignore=skip)
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp/'dist', tmp/'tree')
    return tmp/'dist'

@pytest.fixture(scope='module')
def wheel(built): return next(built.glob('*.whl'))

@pytest.fixture(scope='module')
def away(wheel, tmp_path_factory):
    "Run python in an empty folder, with the installed wheel before everything else on the path."
    tmp = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--disable-pip-version-check', '--target', tmp, wheel)
    (tmp/'elsewhere').mkdir()
    env = {**os.environ, 'PYTHONPATH': str(tmp)}
    def python(*args): return run(sys.executable, *args, cwd=tmp/'elsewhere', env=env)
    python.tmp = tmp
    return python

def test_wheel_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = next(n.split('/')[0] for n in names if '.dist-info/' in n)
    assert sorted(n for n in names if not n.startswith(info)) == sorted(modules + assets), 'the wheel holds the modules of aclip, its two small weights files and nothing else'
    assert f'{info}/licenses/LICENSE' in names

def test_metadata(wheel):
    config = ConfigParser(delimiters=['=']); config.read(root/'settings.ini'); config = config['DEFAULT']
    z = zipfile.ZipFile(wheel)
    read = lambda end: z.read(next(n for n in z.namelist() if n.endswith(end))).decode()
    m = Parser().parsestr(read('.dist-info/METADATA'))
    plain = {re.sub(r'\s', '', r).replace('_', '-').lower() for r in m.get_all('Requires-Dist') if 'extra' not in r}
    assert plain == {r.replace('_', '-').lower() for r in config['requirements'].split()}
    assert (m['Version'], m['License-Expression'], m['Requires-Python']) == (config['version'], 'Apache-2.0', f">={config['min_python']}")
    assert m.get_all('Provides-Extra') == ['dev'] and len(m.get_payload().strip()) > 5
    assert 'aclip = aclip.cli:main' in read('entry_points.txt')

def test_sdist_is_the_source(built):
    t = tarfile.open(next(built.glob('*.tar.gz')))
    names = {n.partition('/')[2] for n in t.getnames()}
    here = {p.relative_to(root).as_posix() for d in ('nbs', 'tests') for p in (root/d).glob('*.*') if p.name[0] != '.' and p.suffix in ('.ipynb', '.py', '.sh', '.yml')}
    assert here | {*modules, *assets} | {'settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt', '_quarto.yml', 'LICENSE', 'README.md'} <= names
    assert not [n for n in names if '__pycache__' in n or n.startswith(('_proc', '.venv', '.git'))]

def test_imports_away_from_the_checkout(away):
    every = [m[:-3].replace('/', '.').removesuffix('.__init__') for m in modules]
    found = away('-c', 'import importlib, aclip\n' + '\n'.join(f'importlib.import_module("{m}")' for m in every) + '\nprint(aclip.__file__)')
    assert Path(found.strip()).is_relative_to(away.tmp)

@needs_cli
def test_command_away_from_the_checkout(away):
    text = away(away.tmp/'bin/aclip', '--help')
    for sub in ('demo', 'doctor', 'world', 'text-bank', 'train', 'evaluate', 'predict', 'params'): assert re.search(rf'\b{sub}\b', text)

@needs_cli
@pytest.mark.parametrize('sub', ['', 'demo', 'doctor', 'world', 'text-bank', 'train', 'evaluate', 'predict', 'params'])
def test_help_is_light(away, sub):
    "`--help` answers at once because nothing heavy is imported for it."
    code = f'import sys; from aclip.cli import main; sys.argv = ["aclip", *{sub.split()}, "--help"]\ntry: main()\nexcept SystemExit as e: print(sorted({HEAVY} & set(sys.modules)), e.code)'
    out = away('-c', code)
    assert out.splitlines()[-1] in ('[] 0', '[] None'), out.splitlines()[-1]
    assert len(out.splitlines()) > 3, out

def test_heavy_modules_are_there():
    "Or the check above would pass for nothing."
    assert all(find_spec(m) for m in HEAVY)
