"""Registries: a base model and a teacher are added to a copy of the project by a counted number of edits, and are full citizens there.

A third dataset is one entry too: `test_a_third_dataset_is_one_entry` in test_doctor.py."""
import difflib, json, os, shutil, subprocess, sys
from pathlib import Path
import pytest, torch
from aclip.cli import command_parser, main
from aclip.command_line.options import option_name, parameters
from aclip.command_line.subcommands import COMMANDS, command_groups
from aclip.config import METHODS, Config
from aclip.data.clips import DataError, spread_frames
from aclip.data.datasets import DATASETS, detect_dataset
from aclip.data.source import ClipSource
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import WINDOW
from aclip.evidence.demo import demo_config
from aclip.evidence.experiments import check_rows
from aclip.evidence.tables import TABLES
from aclip.evidence.setups import SETUPS
from aclip.models.boxes import GEOMETRY
from aclip.models.features import FEATURES, create_features
from aclip.models.registry import BASES
from aclip.text.bank import BankError
from aclip.text.teachers import TEACHERS, load_teacher
from aclip.train.recipes import PROTOCOLS
from aclip.train.run import RunConfig, model_for

root = Path(__file__).resolve().parents[1]


# --- a fourth base model, and a further teacher, in a copy of the project -----

PAGE = ['''#| default_exp models.mean''', '''#| export
from torch import nn
from aclip.models.base import BaseEntry, BaseModel''', '''#| exports
class MeanRelation(nn.Module):
    "Adds to each actor a linear map of the mean actor of its frame."
    def __init__(self,
        d:int=64, # width D
        gain:float=1., # weight of the mean
    ):
        super().__init__()
        self.gain = gain
        self.linear = nn.Linear(d, d)

    def forward(self, x, boxes, mask=None):
        real = x.new_ones(len(x), 1, x.shape[2], 1) if mask is None else mask[:, None, :, None].to(x.dtype)
        mean = (x*real).sum(2, keepdim=True)/real.sum(2, keepdim=True).clamp(min=1)
        return x + self.gain*self.linear(mean)''', '''#| exports
class Mean(BaseModel):
    "An image branch with this relation."
    def __init__(self,
        features:nn.Module, # (frames, boxes) -> (B, T, N, D); has `.d`
        n_activities:int=8, # G
        n_actions:int=9, # K
        dropout:float=0.3, # before the classifiers
        n_actors:int=None, # not needed here
        **relation, # arguments of `MeanRelation`
    ):
        super().__init__(features, MeanRelation(features.d, **relation), n_activities, n_actions, dropout)''', '''#| export
BASE = BaseEntry('mean', 'Mean', Mean, MeanRelation, d=64, n_frames=(3, 3), r=3, small=dict(gain=.5))''']

def write_page(path, cells):
    "A notebook of code cells below its title."
    code = [dict(cell_type='code', execution_count=None, id=f'{i:08x}', metadata={}, outputs=[], source=c.splitlines(True)) for i,c in enumerate(cells)]
    title = dict(cell_type='markdown', id='00000100', metadata={}, source=['# The mean actor\n', '\n', '> A base model of a few lines.'])
    path.write_text(json.dumps(dict(cells=[code[0], title, *code[1:]], metadata={}, nbformat=4, nbformat_minor=5), indent=1))

# The base models of the copy: the new line is behind Dual-AI's.
WITH_MEAN = [name for base in BASES for name in ((base, 'mean') if base == 'dualai' else (base,))]

def add_line(path, after, line):
    "Insert a line behind the only one that is `after`."
    lines = path.read_text(encoding='utf-8').splitlines(True)
    at, = [i for i,l in enumerate(lines) if l.strip() == after.strip()]
    path.write_text(''.join([*lines[:at+1], line + '\n', *lines[at+1:]]), encoding='utf-8')

def edits(copy):
    "File -> lines that were added and removed, of all that differs from the project; a new file counts as one edit."
    found = {}
    skip = ('__pycache__', '.ipynb_checkpoints')
    for p in sorted(f for f in copy.rglob('*') if f.is_file() and not f.is_symlink() and not {*f.parts} & {*skip}):
        name = p.relative_to(copy).as_posix()
        if not (root/name).is_file(): found[name] = 'new'
        elif p.read_bytes() != (root/name).read_bytes():
            marks = [l[0] for l in difflib.ndiff((root/name).read_text(encoding='utf-8').splitlines(), p.read_text(encoding='utf-8').splitlines())]
            found[name] = (marks.count('+'), marks.count('-'))
    return found

@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "The project with one base model and one teacher more; what was edited by hand, and what the export changed."
    copy = tmp_path_factory.mktemp('registry')/'project'
    copy.mkdir()
    skip = shutil.ignore_patterns('__pycache__', '.*', 'results')
    for folder in ('nbs', 'aclip'): shutil.copytree(root/folder, copy/folder, symlinks=True, ignore=skip)
    for file in ('pyproject.toml', 'settings.ini', 'setup.py', '_quarto.yml', 'README.md'): shutil.copy(root/file, copy)
    assert edits(copy) == {}
    write_page(copy/'nbs/13a_models.mean.ipynb', PAGE)
    add_line(copy/'nbs/48_models.registry.ipynb', '''"    'dualai',\\n",''', '''    "    'mean',\\n",''')
    add_line(copy/'_quarto.yml', '- 13_models.dualai.ipynb', '          - 13a_models.mean.ipynb')
    base = edits(copy)
    add_line(copy/'nbs/40_text.teachers.ipynb', '''"TEACHERS = dict(\\n",''', '''    "    narrow=Teacher(lambda actions: TextBank.random(actions, dim=16), 'orthogonal random vectors, 16 wide'),\\n",''')
    both = edits(copy)
    run([Path(sys.executable).with_name('nbdev-export')], copy)
    return copy,base,both

def run(argv, copy):
    "Standard output of a process that imports the copy."
    env = {**os.environ, 'PYTHONPATH': str(copy), 'PYTHONDONTWRITEBYTECODE': '1', 'COLUMNS': '200', 'OMP_NUM_THREADS': '1'}
    r = subprocess.run([str(a) for a in argv], cwd=copy, env=env, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-3000:]
    return r.stdout

# What a fresh process does with the copy.
WORK = '''
import contextlib, io, json, sys
from pathlib import Path
import aclip
from aclip.cli import main
from aclip.config import Config
from aclip.evidence.demo import TRAINING, demo
from aclip.evidence.params import count_params, params_text
from aclip.evidence.tables import TABLES
from aclip.text.teachers import load_teacher

out, world = Path(sys.argv[1]), sys.argv[2]
found = dict(where=aclip.__file__)

def command(*argv):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try: status = main([*map(str, argv)])
        except SystemExit as e: status = e.code
    assert status == 0, argv
    return text.getvalue()

found['help'] = {name: command(*argv, '--help') for name, argv in dict(train=['train', '--model', 'mean'], arg=['train'], demo=['demo'], table=['table']).items()}
found['train'] = json.loads(command('train', '--model', 'mean', '--features', 'boxes', '--relation.gain', '.25', '--data', world, '--available', '--teacher', 'narrow',
    '--layers', '1', '--epochs', '2', '--out', out/'run', '--json', '--quiet'))
best = out/'run/3-text/best.safetensors'
found['evaluate'] = json.loads(command('evaluate', '--model', best, '--data', world, '--available', '--json', '--quiet'))
r = demo(out/'demo', seeds=[0], clips=16, videos=4, size=(72, 128), model='mean', teacher='narrow', training={s: dict(epochs=1, warmup=0) for s in TRAINING}, progress=False)
found['demo'] = dict(models=[row['model'] for row in r['rows']], arguments=r['arguments'])
found['table'] = [row.name for row in TABLES['1']]
found['shown'] = command('table', '1', '--show', '--out', out/'runs')
rows = count_params()
found['params'] = [(o.table, o.row, o.paper, o.ours) for o in rows if 'Mean' in o.row]
found['params_text'] = params_text(rows)
for name, call in dict(base=lambda: Config(['a'], ['b'], model='nosuch'), teacher=lambda: load_teacher('nosuch', ['b'])).items():
    try: call()
    except ValueError as e: found[f'error_{name}'] = str(e)
print(json.dumps(found))
'''

@pytest.fixture(scope='module')
def found(copy, tmp_path_factory):
    out = tmp_path_factory.mktemp('found')
    world = make_world(out/'world', clips=12, videos=4, size=(72, 128), workers=0, progress=False)
    return json.loads(run([sys.executable, '-c', WORK, out, world], copy[0]).splitlines()[-1])

def test_a_base_model_is_three_edits(copy):
    "Its page, a line in the registry, a line in the sidebar."
    assert copy[1] == {'nbs/13a_models.mean.ipynb': 'new', 'nbs/48_models.registry.ipynb': (1, 0), '_quarto.yml': (1, 0)}

def test_a_teacher_is_one_edit(copy):
    assert {k: v for k,v in copy[2].items() if k not in copy[1]} == {'nbs/40_text.teachers.ipynb': (1, 0)}

def test_the_export_changes_no_other_module(copy, found):
    changed = {k for k in edits(copy[0]) if k.startswith('aclip/')}
    assert changed == {'aclip/models/mean.py', 'aclip/models/registry.py', 'aclip/text/teachers.py', 'aclip/_modidx.py'}
    assert Path(found['where']).parent == copy[0]/'aclip'

def test_the_help_names_the_new_model(found):
    for command in ('train', 'arg', 'demo'): assert '{' + ','.join(WITH_MEAN) + '}' in found['help'][command], command
    assert '--relation.gain X' in found['help']['train'] and 'weight of the mean; default: 1.0' in ' '.join(found['help']['train'].split())
    assert '--relation.gain' not in found['help']['arg']
    for command in ('train', 'arg'): assert '64 for mean' in found['help'][command] and '3 for mean' in found['help'][command]

def test_the_help_names_the_new_teacher(found):
    for command in ('train', 'demo', 'table'): assert f"({', '.join(['narrow', *TEACHERS])})" in ' '.join(found['help'][command].split()), command

def test_the_new_model_trains_and_is_evaluated(found):
    two,three = found['train']
    assert [r['step'] for r in (two, three)] == [2, 3] and {r['config']['model'] for r in (two, three)} == {'mean'}
    assert two['config']['relation'] == dict(gain=.25)
    assert (three['config']['text']['r'], three['config']['text']['d2']) == (3, 16) and three['teacher']['model'] == 'random'
    assert {'activity', 'activity_image', 'activity_text', 'action'} <= found['evaluate'].keys()

def test_the_demo_takes_the_new_model_and_teacher(found):
    assert len(found['demo']['models']) == 3 and found['demo']['arguments']['model'] == 'mean' and found['demo']['arguments']['teacher'] == 'narrow'

def test_tables_have_its_rows(found):
    titles = ['Mean' if name == 'mean' else BASES[name].title for name in WITH_MEAN]
    assert found['table'] == [row for t in titles for row in (t, f'ACLIP*({t})', f'ACLIP({t})')]
    for name in found['table']: assert name in found['shown'], name

def test_its_parameters_are_counted(found):
    counts = {(table, row): ours for table,row,paper,ours in found['params'] if paper is None}
    assert counts.keys() == {(1, 'ACLIP*(Mean)'), (1, 'ACLIP(Mean)'), (4, 'ACLIP(Mean)+'), (4, 'ACLIP(Mean)')}
    assert round(1e6*counts[4, 'ACLIP(Mean)+']) == 64*64 + 64 and round(1e6*counts[4, 'ACLIP(Mean)']) == 2*64*3
    assert 'ACLIP*(Mean)' in found['params_text'] and '27 of 31 counts are met.' in found['params_text']

def test_errors_name_the_new_entries(found):
    assert ', '.join(WITH_MEAN) in found['error_base'] and ', '.join(['narrow', *TEACHERS]) in found['error_teacher']


# --- every key of a registry ----------------------------------------------------

# Command, option, registry of its values
CHOSEN = [('train', '--model', BASES), ('demo', '--model', BASES), ('train', '--features', FEATURES), ('train', '--method', METHODS), ('train', '--geometry', GEOMETRY),
          ('train', '--protocol', PROTOCOLS), ('table', '--protocol', PROTOCOLS), ('table', '--features', SETUPS), ('table', None, TABLES)]
NEEDED = dict(train=['--data', 'x', '--out', 'y'], demo=[], table=['1'])

@pytest.mark.parametrize('command,option,registry', CHOSEN, ids=lambda v: v if isinstance(v, str) else None)
def test_keys_are_choices_in_the_help(command, option, registry, capsys):
    action, = [a for a in command_parser(command)._actions if option in a.option_strings or option is None and not a.option_strings]
    assert tuple(action.choices) == tuple(registry)
    with pytest.raises(SystemExit): main([command, '--help'])
    said = ''.join(capsys.readouterr().out.split())
    for key in registry: assert key in said, key
    if option: assert '{' + ','.join(registry) + '}' in said

@pytest.mark.parametrize('command,option,registry', CHOSEN, ids=lambda v: v if isinstance(v, str) else None)
def test_an_unknown_name_is_answered_by_the_keys(command, option, registry, capsys):
    argv = [command, *NEEDED[command], option, 'nosuch'] if option else [command, 'nosuch']
    with pytest.raises(SystemExit) as e: main(argv)
    last = capsys.readouterr().err.splitlines()[-1]
    assert e.value.code == 2 and "'nosuch'" in last
    for key in registry: assert f"{key}'" in last or f'{key},' in last or last.endswith(f'{key})'), key

@pytest.mark.parametrize('command,option,registry', [('train', '--teacher', TEACHERS), ('demo', '--teacher', TEACHERS), ('table', '--teacher', TEACHERS),
    *((c, '--data', DATASETS) for c in ('train', 'evaluate', 'features', 'label-errors', 'doctor', 'table'))], ids=lambda v: v if isinstance(v, str) else None)
def test_keys_are_in_the_help_where_a_file_is_taken_too(command, option, registry):
    action, = [a for a in command_parser(command)._actions if option in a.option_strings]
    assert action.help.endswith(f"({', '.join(registry)})")

def boxes_world(folder):
    (folder/'videos/1').mkdir(parents=True)
    return folder

@pytest.mark.parametrize('call,registry', [
    (lambda tmp: Config(['a'], ['b'], model='nosuch'), BASES), (lambda tmp: demo_config('nosuch'), BASES), (lambda tmp: Config(['a'], ['b'], method='nosuch'), METHODS),
    (lambda tmp: Config(['a'], ['b'], model='aformer', features='nosuch'), FEATURES), (lambda tmp: create_features(Config(['a'], ['b'], features='boxes', geometry=['nosuch'])), GEOMETRY),
    (lambda tmp: load_teacher('nosuch', ['b']), TEACHERS), (lambda tmp: check_rows('nosuch', None), TABLES), (lambda tmp: detect_dataset(tmp), DATASETS),
    (lambda tmp: RunConfig(s := ClipSource(boxes_world(tmp)), model_for(s, features='boxes'), tmp/'out', protocol='nosuch'), PROTOCOLS)],
    ids='base demo method features geometry teacher table dataset protocol'.split())
def test_functions_name_the_keys_too(call, registry, tmp_path):
    with pytest.raises(ValueError) as e: call(tmp_path)
    for key in registry: assert key in str(e.value), key

def test_entries_carry_their_key():
    for name,base in BASES.items(): assert base.name == name and base.features and set(base.features) <= FEATURES.keys() and base.title
    for name,dataset in DATASETS.items(): assert dataset.name == name and dataset.teacher in TEACHERS
    for kind in FEATURES.values(): assert kind.description and set(kind.parts) <= FEATURES.keys() and (kind.build is None) == bool(kind.parts)
    for teacher in TEACHERS.values(): assert teacher.description and callable(teacher.build)
    for protocol in PROTOCOLS.values(): assert protocol.description and protocol.train in ('train', 'trainval')
    for rows in TABLES.values(): assert len({r.name for r in rows}) == len(rows) > 0

@pytest.mark.parametrize('name', TEACHERS)
def test_every_teacher_gives_a_bank(name):
    actions = list(DATASETS['volleyball'].actions)
    bank = load_teacher(name, actions)
    assert list(bank.labels) == actions and bank.features.shape[0] == len(actions)
    assert torch.isfinite(bank.features).all()


# --- options --------------------------------------------------------------------

@pytest.mark.parametrize('command', COMMANDS)
def test_a_default_given_as_text_is_the_default(command):
    "What the command line reads has the type that the function expects."
    groups = [*command_groups(command), *(g for m in BASES for g in command_groups('train', ['--model', m]) if command == 'train')]
    for group in groups:
        for name,p in parameters(group).items():
            if p['default'] is None or p['default'] in ((), []) or group.free or not isinstance(p['default'], (int, float, str, tuple, list)) or isinstance(p['default'], bool): continue
            values = p['default'] if isinstance(p['default'], (tuple, list)) else [p['default']]
            parser = command_parser(command, [group])
            for action in parser._actions: action.required = False
            option = option_name(group, name)
            got = vars(parser.parse_args([option, *map(str, values)]))[f'{group.key}/{name}']
            assert [*got] == [*values] if isinstance(p['default'], (tuple, list)) else type(got)(values[0]) == got and (isinstance(got, str) or got == values[0] or str(got) == str(values[0])), (option, got)

@pytest.mark.parametrize('base', BASES.values(), ids=lambda b: b.name)
def test_its_frames_can_be_taken_from_a_window(base):
    "What an entry asks for in training and testing, on frames and on boxes, the loader must be able to give."
    for n in base.n_frames: assert 1 <= n <= len(WINDOW)
    spread_frames(base.n_frames[1], len(WINDOW))
