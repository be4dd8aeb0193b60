"A module of 0.1.0 that is elsewhere now raises on import, with its new place, in whatever way it is imported."
import importlib, importlib.util, re, subprocess, sys
from pathlib import Path
import pytest
import aclip

root = Path(__file__).resolve().parents[1]
# Every module of 0.1.0.
OLD = ('aformer arg base bench boxes checkpoint cli clip commands core data.clips data.collective data.datasets data.doctor data.folder '
       'data.players data.scene data.synthetic data.volleyball demo distill dualai experiments features i3d image2text layers learner lora '
       'metrics parallel params report store tiny_clip visual zoo').split()

def is_file(module): return (root/'aclip'/f"{module.replace('.', '/')}.py").is_file()

def test_every_old_module_is_there_or_has_moved():
    "And none is both."
    assert {m for m in OLD if not is_file(m)} == aclip.MOVED.keys()

@pytest.mark.parametrize('old', aclip.MOVED)
def test_new_places_exist(old):
    for place in aclip.MOVED[old].split(): assert is_file(place), f'aclip/__init__.py: there is no module aclip.{place}'

def test_new_places_are_those_of_the_changelog():
    table = (root/'CHANGELOG.md').read_text(encoding='utf-8').partition('### Modules, old and new')[2]
    listed, old = {}, None
    for line in table.splitlines():
        cells = [c.strip().strip('`') for c in line.split('|')]
        if len(cells) != 5 or not cells[2].startswith('aclip.'): continue
        old = cells[1] or old
        listed.setdefault(old.removeprefix('aclip.'), set()).add(cells[2].removeprefix('aclip.'))
    assert {m: listed.get(m) for m in aclip.MOVED} == {m: set(places.split()) for m, places in aclip.MOVED.items()}

@pytest.mark.parametrize('old', aclip.MOVED)
@pytest.mark.parametrize('statement', ['import aclip.{}', 'import aclip.{} as m', 'from aclip.{} import train', 'from aclip.{} import *', 'from aclip import {}'])
def test_import_names_the_new_place(old, statement):
    with pytest.raises(ModuleNotFoundError) as e: exec(statement.format(old), {})
    assert str(e.value).startswith(f'aclip.{old} of aclip 0.1.0 is now ')
    for place in aclip.MOVED[old].split(): assert f'aclip.{place}' in str(e.value)

def test_import_module_and_a_process_of_its_own():
    with pytest.raises(ModuleNotFoundError, match=r'aclip\.commands of aclip 0\.1\.0 is now .*aclip\.train\.steps'): importlib.import_module('aclip.commands')
    run = subprocess.run([sys.executable, '-c', 'from aclip.commands import train'], capture_output=True, text=True)
    assert run.returncode == 1
    assert re.fullmatch(r'ModuleNotFoundError: aclip\.commands of aclip 0\.1\.0 is now .*', run.stderr.splitlines()[-1])

def test_other_names_are_as_always():
    "A module that never was, one of another package, and the names of packages that are like old modules."
    with pytest.raises(ModuleNotFoundError, match="^No module named 'aclip.nosuch'$"): importlib.import_module('aclip.nosuch')
    with pytest.raises(ModuleNotFoundError, match="^No module named 'aclip.models.commands'$"): importlib.import_module('aclip.models.commands')
    with pytest.raises(ImportError, match="cannot import name 'nosuch'"): exec('from aclip import nosuch', {})
    assert importlib.util.find_spec('commands') is None and importlib.util.find_spec('aclip.models.arg')
    assert importlib.util.find_spec('aclip.nosuch') is None

def test_what_stays_is_light():
    "The public name of the method stays, and the search for moved modules imports nothing."
    code = 'import sys, aclip; assert "torch" not in sys.modules; from aclip.core import ActivityCLIP; print(ActivityCLIP.__module__, "fastai" in sys.modules)'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.stdout.split() == ['aclip.core', 'False'], run.stderr
