"An sdist and a wheel build from the tree, hold what they should, and work away from the checkout."
import ast, os, re, sys, tarfile, zipfile
from configparser import ConfigParser
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
import pytest, yaml
from conftest import run
from aclip.command_line.subcommands import COMMANDS

root = Path(__file__).resolve().parents[1]
modules = sorted(p.relative_to(root).as_posix() for p in (root/'aclip').rglob('*.py'))
assets = sorted(p.relative_to(root).as_posix() for p in (root/'aclip/assets').glob('*.safetensors'))
HEAVY = {'torch', 'torchvision', 'fastai', 'timm', 'open_clip', 'matplotlib', 'scipy'}
needs_cli = pytest.mark.skipif(not (root/'aclip/cli.py').exists(), reason='aclip/cli.py is not written yet')

@pytest.fixture(scope='module')
def away(installed, tmp_path_factory):
    "Run python in an empty folder, with the installed wheel before everything else on the path."
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    env = {**os.environ, 'PYTHONPATH': str(installed)}
    def python(*args): return run(sys.executable, *args, cwd=elsewhere, env=env)
    python.tmp = installed
    return python

def test_wheel_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = next(n.split('/')[0] for n in names if '.dist-info/' in n)
    assert sorted(n for n in names if not n.startswith(info)) == sorted([*modules, *assets, 'aclip/py.typed']), 'the wheel holds the modules of aclip, py.typed, its two small weights files and nothing else'
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
    assert here | {*modules, *assets} | {'settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt', '_quarto.yml', 'LICENSE', 'README.md',
                                     'CONTRIBUTING.md', 'CHANGELOG.md', 'CITATION.cff', 'aclip/py.typed'} <= names
    assert not [n for n in names if '__pycache__' in n or n.startswith(('_proc', '.venv', '.git'))]

def test_imports_away_from_the_checkout(away):
    every = [m[:-3].replace('/', '.').removesuffix('.__init__') for m in modules]
    found = away('-c', 'import importlib, aclip\n' + '\n'.join(f'importlib.import_module("{m}")' for m in every) + '\nprint(aclip.__file__)')
    assert Path(found.strip()).is_relative_to(away.tmp)

@needs_cli
def test_command_away_from_the_checkout(away):
    text = away(away.tmp/'bin/aclip', '--help')
    for sub in COMMANDS: assert re.search(rf'\b{sub}\b', text)

@needs_cli
@pytest.mark.parametrize('sub', ['', *COMMANDS])
def test_help_is_light(away, sub):
    "`--help` answers at once because nothing heavy is imported for it; what it prints is what the real libraries would give."
    code = f'import sys; from aclip.cli import main; sys.argv = ["aclip", *{sub.split()}, "--help"]\ntry: main()\nexcept SystemExit as e: print(sorted({HEAVY} & set(sys.modules)), e.code)'
    out = away('-c', code)
    assert out.splitlines()[-1] in ('[] 0', '[] None'), out.splitlines()[-1]
    assert len(out.splitlines()) > 3, out
    real = away('-c', code.replace('import sys;', 'import sys, torch;'))
    assert out.splitlines()[:-1] == real.splitlines()[:-1] and "'torch'" in real.splitlines()[-1]

def test_heavy_modules_are_there():
    "Or the check above would pass for nothing."
    assert all(find_spec(m) for m in HEAVY)


# The contributor's door. Files whose names begin with a dot are in a checkout, not in an sdist.

needs_checkout = pytest.mark.skipif(not (root/'.github').exists(), reason='no .github here: this is not a checkout')

def settings():
    config = ConfigParser(delimiters=['='])
    config.read(root/'settings.ini')
    return config['DEFAULT']

def read(name): return (root/name).read_text(encoding='utf-8')

def parsed(name): return yaml.safe_load(read(name))

def pinned(): return dict(l.split(';')[0].strip().split('==') for l in read('constraints.txt').splitlines() if '==' in l)

def table(name, heading):
    "Rows of the first Markdown table below a heading, without its head."
    lines = read(name).partition(heading)[2].strip().splitlines()
    rows = [[c.strip().strip('`') for c in l.strip('|').split('|')] for l in lines[2:] if l.startswith('|')]
    assert rows, f'{name} has no table below {heading!r}'
    return rows

@needs_checkout
@pytest.mark.parametrize('name', ['ci', 'docs', 'release'])
def test_workflow(name):
    flow = parsed(f'.github/workflows/{name}.yml')
    assert flow[True] and flow['permissions'] == {'contents': 'read'}, 'YAML reads the key `on` as True'
    for job in flow['jobs'].values():
        assert job['steps'] and all(('uses' in s) != ('run' in s) for s in job['steps'])
        assert all(re.fullmatch(r'[\w./-]+@[\w./-]+', s['uses']) for s in job['steps'] if 'uses' in s)
        assert set(job.get('needs', '').split()) <= set(flow['jobs'])

@needs_checkout
def test_docs_are_deployed_from_main_only():
    jobs = parsed('.github/workflows/docs.yml')['jobs']
    assert any(s.get('run') == 'nbdev-docs' for s in jobs['build']['steps'])
    assert any('quarto' in s.get('uses', '') for s in jobs['build']['steps'])
    assert 'refs/heads/main' in jobs['deploy']['if'] and jobs['deploy']['permissions'] == {'pages': 'write', 'id-token': 'write'}

@needs_checkout
def test_release_is_a_checked_tag_without_a_token():
    text, flow = read('.github/workflows/release.yml'), parsed('.github/workflows/release.yml')
    assert flow[True] == {'push': {'tags': ['v*']}}
    assert 'secrets.' not in text and flow['jobs']['publish']['permissions'] == {'id-token': 'write'}
    steps = ' '.join(s.get('run', '') for s in flow['jobs']['build']['steps'])
    assert all(s in steps for s in ('settings.ini', 'CHANGELOG.md', 'tests/all.sh', 'python -m build', 'twine check'))

@needs_checkout
@pytest.mark.parametrize('name', ['bug', 'feature', 'question'])
def test_issue_form(name):
    form = parsed(f'.github/ISSUE_TEMPLATE/{name}.yml')
    assert all(form[k] for k in ('name', 'description', 'body'))
    ids = [b['id'] for b in form['body']]
    assert len(ids) == len(set(ids))
    for b in form['body']:
        assert b['type'] in ('textarea', 'input', 'dropdown', 'checkboxes') and b['attributes']['label']
        assert ('options' in b['attributes']) == (b['type'] in ('dropdown', 'checkboxes'))

@needs_checkout
def test_pull_request_template():
    text = read('.github/pull_request_template.md')
    assert all(s in text for s in ('nbdev-export', 'nbdev-clean', 'bash tests/all.sh', 'CHANGELOG.md'))

@needs_checkout
def test_pre_commit_hooks_run_the_tested_versions():
    hooks = [h for r in parsed('.pre-commit-config.yaml')['repos'] for h in r['hooks']]
    assert [h['id'] for h in hooks] == ['nbdev-clean', 'nbdev-export', 'style']
    for h in hooks:
        re.compile(h['files'])
        for package, version in (d.split('==') for d in h['additional_dependencies']):
            assert pinned()[package] == version, f'{h["id"]}: constraints.txt has {package}=={pinned()[package]}'

def test_citation():
    cite = parsed('CITATION.cff')
    assert cite['cff-version'] == '1.2.0' and all(cite[k] for k in ('message', 'title', 'authors'))
    assert (cite['version'], cite['license']) == (settings()['version'], 'Apache-2.0')
    paper = cite['references'][0]
    assert paper['title'].startswith('ActivityCLIP') and [a['family-names'] for a in paper['authors']] == ['Xu', 'Yin', 'Zhou', 'Dang']

def test_changelog():
    versions = re.findall(r'^## \[([^]]+)\](?: - (\d{4}-\d\d-\d\d))?$', read('CHANGELOG.md'), re.M)
    assert versions[0] == ('Unreleased', '') and all(date for _, date in versions[1:])
    assert settings()['version'] in dict(versions), 'CHANGELOG.md has no section for the version of settings.ini'
    assert set(re.findall(r'^### (\w+)', read('CHANGELOG.md'), re.M)) <= {'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security', 'Renamed', 'Modules'}

def defined(module):
    "Names that a module of aclip defines at its top."
    body = ast.parse(read(module.replace('.', '/') + '.py')).body
    assigned = {t.id for n in body if isinstance(n, ast.Assign) for t in ast.walk(n) if isinstance(t, ast.Name) and isinstance(t.ctx, ast.Store)}
    return assigned | {n.name for n in body if hasattr(n, 'name')}

def test_changelog_names_the_new_place_of_every_module():
    for _, module, use in table('CHANGELOG.md', '### Modules, old and new'):
        assert module.replace('.', '/') + '.py' in modules, f'CHANGELOG.md: there is no {module}'
        imported = ast.parse(use).body[0]
        assert imported.module == module, f'CHANGELOG.md: {use} is not of {module}'
        missing = {a.name for a in imported.names} - defined(module)
        assert not missing, f'CHANGELOG.md: {module} has no {", ".join(sorted(missing))}'

def test_contributing_says_how_to_add_things():
    text = read('CONTRIBUTING.md')
    for s in ('nbdev-export', 'nbdev-clean', 'bash tests/all.sh', 'pre-commit install', 'BASE = BaseEntry(', 'MODULES', 'DATASETS', 'TEACHERS', '_quarto.yml'): assert s in text, s
    for heading in ('a base model', 'a dataset', 'a teacher', 'an ablation'): assert f'## Add {heading}' in text
    for _, page, module in table('CONTRIBUTING.md', 'Where things are:'):
        assert (root/page).exists() and (root/module).exists(), f'CONTRIBUTING.md: no {page} or no {module}'
