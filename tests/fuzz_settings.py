"Kinds of input that are settings: arguments from Python, configuration files, command lines."
import contextlib
import io
import json
import os
from pathlib import Path
from unittest.mock import patch

import torch

from fuzz import Kind, Refused
from fuzz_data import mutation
from fuzz_files import BAD_CONFIG, BAD_TEXT, BOXES, CONFIGS, TEXT, seed_bank, seed_checkpoint
from fuzz_data import volleyball_lines
from fuzz_mutators import cuts, encodings, flips, json_files, replace_bytes, whole_file
from aclip.cli import main
from aclip.config import Config
from aclip.core import ActivityCLIP
from aclip.data.source import ClipSource
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.text.teachers import load_teacher
from aclip.train import steps
from aclip.train.recipes import recipe_for
from aclip.train.run import Distillation, RunConfig
from aclip.zoo import check_model, create_model

NAN = float('nan')
INF = float('inf')
BAD_RECIPE = dict(
    epochs=[0, -1, 1.5, '3', NAN, 10**12, [1]], lr=[-1, NAN, INF, 'x', [1]],
    bs=[0, -1, 1.5, '8', 10**12, NAN], warmup=[-1, NAN, INF, 'x', 99], wd=[-1, NAN, INF, 'x'],
    schedule=['x', '', 5, ['cosine']], smoothing=[-.1, 1.5, NAN, 'x', INF],
    action_weight=[-1, NAN, INF, 'x'], clip=[-1, NAN, INF, 'x'], weigh_actions=['x', 2.5, []],
    nosuch=[1])
BAD_DISTILL = dict(kd_weight=[-1, NAN, INF, 'x', None], prompts=['x', '', 5, None],
                   pairs=['x', '', 5, None], target=['x', '', 5, None], fused=['x', 2.5],
                   nosuch=[1])
BAD_RUN = dict(
    steps=[[0], [4], [], 'x', 5, [1.5], ['2'], [1], [NAN], [-1]], seed=[-1, 1.5, 'x', 2**70, NAN],
    precision=['x', 'fp64', 5, None, ''], protocol=['x', '', None, 5],
    videos=[['x'], [-1], [999], 'x', 5, [1.5]], teacher=['nosuch', 5, '', [], '/'],
    start_from=[['/nowhere'], 5, [5]], augment=[dict(nosuch=1), dict(flip=-1), dict(flip=2),
                                                dict(flip=NAN), dict(shift=-1), dict(shift='x'),
                                                dict(zoom=NAN), dict(zoom=-1), dict(zoom=5),
                                                dict(jitter=-1), dict(jitter=INF), 'x', 5, [1]],
    recipe=['x', 5, [1], *[{k: v} for k, vs in BAD_RECIPE.items() for v in vs]],
    overwrite=['x', 2.5], store=[5, ['x']], out=['', None, 5])
BAD_SOURCE = dict(data=['', '/nonexistent', 5, None, [], '/dev/null', '/proc'],
                  boxes=['x', '', 5, None, [], '/nonexistent.pkl', '/'],
                  available=['x', 2.5], workers=[-1, 1.5, 'x', NAN, None, 10**9], nosuch=[1])
BAD_WEIGHTS = dict(pretrained=['x', 2.5], backbone_weights=['/nonexistent', 5, '/', '/dev/null'],
                   i3d_weights=['/nonexistent', 5], nosuch=[1])

# None is the dataset's dropout.
BAD_CONFIG = dict(BAD_CONFIG, dropout=[v for v in BAD_CONFIG['dropout'] if v is not None])


def arguments(bad, where=lambda name, value: {name: value}, label=''):
    "A mutation for each bad value of each argument."
    for name, values in bad.items():
        for value in values:
            yield mutation(f'{label}{name} is {value!r}', 'wrong',
                           lambda folder, n=name, v=value: where(n, v), place=spoken(name, value))


ALSO = dict(warmup='warm-up', actions='labels', seed='Seed', base='image branch')


def spoken(name, value):
    "Words of which a clear message about an argument has one."
    words = [name, name.rstrip('s'), name.replace('_', '-'), ALSO.get(name, name)]
    if isinstance(value, str) and value: words.append(value)
    if isinstance(value, dict): words += [ALSO.get(k, k) for k in value]
    if isinstance(value, list): words += [v for v in value if isinstance(v, str) and v]
    # a file's reader names a number that is too large before it knows whose it is
    if isinstance(value, int) and abs(value) >= 2**63: words.append(str(value))
    return '|'.join(words)


def nothing(folder): pass


def known(bad):
    "Without unknown names, which Python itself reports."
    return {k: v for k, v in bad.items() if k != 'nosuch'}


# Python

def read_config(folder, given):
    config = Config(**{**CONFIGS['aclip'], **(given or {})})
    check_model(config)
    return config.to_dict()


def config_mutations(folder, rng):
    yield from arguments({k: v for k, v in BAD_CONFIG.items()})
    yield from arguments(BAD_TEXT, lambda n, v: dict(text={**TEXT, n: v}), 'text.')
    frames = dict(backbone=[5, [], 'nosuch', '', {}], out_indices=[[-99], 'x', [1.5], [99], 5],
                  crop=[0, -1, 1.5, 'x', NAN, 10**9],
                  size=[[0, 0], [720], [1, 2, 3], [-1, 5], 'ab', 5, [NAN, 1], [1.5, 3], [10**9]*2])
    yield from arguments(frames, lambda n, v: dict(CONFIGS['frames'], text={}, **{n: v}),
                         'frames: ')
    arg = dict(n_graphs=[0, -1, 1.5, 'x', 10**9, None], d_k=[0, -1, 1.5, 'x', 10**12],
               norm=['x', 5, ''], n_frames=[0, -1, 1.5], threshold=['x', NAN],
               aspect=[0, -1, 'x', NAN])
    yield from arguments(arg, lambda n, v: dict(CONFIGS['arg'], text={}, relation={n: v}), 'ARG: ')
    yield from arguments(dict(nosuch=[1]), lambda n, v: dict(relation={n: v}), 'relation.')


def read_recipe(folder, given): return recipe_for(3, False, **(given or {}))


def read_distillation(folder, given): return Distillation(**(given or {}))


def seed_data(folder):
    "Annotations of the videos of the protocol `fixed`, a checkpoint, a bank."
    from aclip.data.volleyball_annotation import SPLITS
    for video in (*SPLITS['trainval'], *SPLITS['test']):
        place = folder/f'data/videos/{video}'
        place.mkdir(parents=True)
        lines = volleyball_lines(['r-pass', 'l_set', 'r_spike', 'l-spike'][video % 2:])
        (place/'annotations.txt').write_text('\n'.join(lines) + '\n')
    seed_bank(folder)
    seed_checkpoint('arg')(folder)


TRAIN = steps.train


def start(run, progress=True, **more):
    "What `train` does before the first step, and the settings of all steps."
    def trained(plan, model, clips, *rest):
        best = dict(mca=0., mpca=0.)
        settings = [plan.config.to_dict(), vars(plan.recipe), plan.run.protocol]
        return dict(step=plan.step, clips=[*map(len, clips)], trainable=0, seconds=0., best=best,
                    protocol=plan.run.protocol, settings=settings)
    def planned(plan): return plan.config
    with patch.object(steps, 'train_step', trained), patch.object(steps, 'step_model', planned):
        return TRAIN(run, progress)


def read_run(folder, given):
    model = Config([*ACTIVITIES], [*ACTIONS], model='aformer', features='boxes', d=8,
                   text=dict(r=2, layers=0, heads=2))
    options = dict(out=folder/'run', steps=[2, 3], teacher='random128', protocol='fixed')
    return start(RunConfig(ClipSource(folder/'data'), model, **{**options, **(given or {})}))


def read_source(folder, given):
    source = ClipSource(**{'data': folder/'data', **(given or {})})
    config = Config([*ACTIVITIES], [*ACTIONS], model='aformer', features='boxes', d=8, step=2)
    return source.read('test', config)


def tiny_base():
    "A trained image branch, on boxes alone."
    torch.manual_seed(0)
    return create_model(Config(**{**BOXES, 'model': 'aformer', 'step': 2})).eval()


def read_core(folder, given):
    given = {**TEXT, **(given or {})}
    model = ActivityCLIP(given.pop('base', None) or tiny_base(), **given).eval()
    inputs = given_inputs()
    with torch.no_grad(): out = model(*inputs)
    return {k: v for k, v in out.items() if k == 'activity_image'}


def given_inputs(T=1, N=12):
    g = torch.Generator().manual_seed(0)
    xy = torch.rand(1, T, N, 2, generator=g)*.8
    return torch.zeros(1, T, 3, 0, 0, dtype=torch.uint8), torch.cat([xy, xy + .1], -1), None


def core_mutations(folder, rng):
    yield from arguments(BAD_TEXT)
    for name, base in dict(a_linear=torch.nn.Linear(2, 2), a_text='x', a_number=5).items():
        yield mutation(f'base is {name}', 'wrong', lambda f, b=base: dict(base=b),
                       place='base|image branch|Linear')


def read_teacher(folder, given):
    given = dict(teacher='random', actions=LABELS) | (given or {})
    bank = load_teacher(given['teacher'], given['actions'])
    return bank.labels, bank.features


LABELS = ['waiting', 'spiking', 'blocking']


def teacher_mutations(folder, rng):
    bad = dict(teacher=['nosuch', '', 5, None, [], '/', '/dev/null', 'RANDOM'],
               actions=[[], ['a', 'a'], 'waiting', None, 5, [1, 2], ['', 'x'], [None]])
    yield from arguments(bad)
    for teacher in ('tiny', 'shuffled'):
        for actions in (['running'], ['waiting', 'running'], ['waiting', 'waiting'], []):
            yield mutation(f'{teacher} for {actions}', 'wrong',
                           lambda f, t=teacher, a=actions: dict(
                teacher=t, actions=a), place='running|waiting|label|action')
    def build(kind, name, labels):
        def change(folder): return dict(actions=labels)
        return mutation(f'labels {name}', kind, change, place='label|action')
    yield build('undecidable', 'in another order', LABELS[::-1])


# Configuration files

def valid_settings(folder):
    return dict(source=dict(data=str(folder/'data'), workers=0), out=str(folder/'run'),
                steps=[2, 3],
                teacher='random128', protocol='fixed', seed=0,
                model=dict(model='aformer', features='boxes', d=8, text=dict(TEXT)),
                recipe=dict(epochs=2, lr=1e-3, bs=4), distill=dict(kd_weight=1.),
                augment=dict(flip=.5, shift=.05), weights=dict(pretrained=False))


def toml(settings, before=''):
    "Settings as TOML."
    simple = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    lines = [f'{k} = {json.dumps(v)}' for k, v in simple.items()]
    for name, inner in settings.items():
        if not isinstance(inner, dict): continue
        lines += ['', f'[{before}{name}]', toml(inner, f'{before}{name}.')]
    return '\n'.join(lines)


def seed_settings(name):
    def seed(folder):
        seed_data(folder)
        settings = valid_settings(Path('PLACE'))
        text = json.dumps(settings) if name.endswith('json') else toml(settings)
        (folder/name).write_text(text)
    return seed


def command(*argv, folder=None):
    "Run the command in this process, without training; a message becomes `Refused`."
    out, err = io.StringIO(), io.StringIO()
    here = os.getcwd()
    if folder: os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
                patch('aclip.train.steps.train', start):
            try: status = main([str(a) for a in argv])
            except SystemExit as e: status = e.code
    finally: os.chdir(here)
    lines = [l for l in err.getvalue().splitlines() if l.startswith('aclip')]
    if status: raise Refused('\n'.join(lines) or err.getvalue() or first_finding(out.getvalue()))
    for line in lines: warn(line)
    return json.loads(out.getvalue())


def first_finding(text):
    "The first error that the doctor prints."
    return next((l for l in text.splitlines() if l.split()[:1] == ['error']), text)


def warn(line):
    import warnings
    warnings.warn(line)


def in_place(content, folder):
    "Settings with the folder in the place of a word."
    for encoding in ('utf-8', 'utf-16-le'):
        content = content.replace('PLACE'.encode(encoding), str(folder).encode(encoding))
    return content


def read_settings(name):
    def read(folder, given):
        file = folder/'used'/name
        file.parent.mkdir()
        if (folder/name).is_dir(): file.mkdir()
        if (folder/name).is_file(): file.write_bytes(in_place((folder/name).read_bytes(), folder))
        return command('train', '--config', file, '--json', '--quiet', folder=folder)
    return read


def settings_mutations(name):
    is_json = name.endswith('json')
    def put(where, field, value):
        def change(folder):
            settings = valid_settings(Path('PLACE'))
            place = settings
            for key in where: place = place.setdefault(key, {})
            place[field] = value
            text = json.dumps(settings) if is_json else toml(settings)
            (folder/name).write_text(text)
        return change
    def mutations(folder, rng):
        parts = {(): {k: v for k, v in BAD_RUN.items() if k not in ('recipe', 'augment')},
                 ('source',): BAD_SOURCE,
                 ('model',): {k: v for k, v in BAD_CONFIG.items() if k != 'step'},
                 ('model', 'text'): BAD_TEXT,
                 ('recipe',): BAD_RECIPE, ('distill',): BAD_DISTILL, ('weights',): BAD_WEIGHTS,
                 ('augment',): dict(nosuch=[1], flip=[-1, 2, 'x'], shift=[-1, 'x'], zoom=[-1, 5],
                                    jitter=[-1, 'x'])}
        for where, bad in parts.items():
            for field, values in bad.items():
                for value in values:
                    if not is_json and not fits_toml(value): continue
                    dotted = '.'.join((*where, field))
                    yield mutation(f'{dotted} is {value!r}', 'wrong', put(where, field, value),
                                   place=spoken(field, value))
        for where in parts:
            yield mutation(f'{".".join(where)}.unheard is 1', 'wrong', put(where, 'unheard', 1),
                           place='unheard')
            if where:
                yield mutation(f'{".".join(where)} is 5', 'wrong', put(where[:-1], where[-1], 5),
                               place=where[-1])
        yield from whole_file(name)
        yield from (encodings(name) if is_json else ())
        yield from (json_files(name, rng) if is_json else toml_files(name))
        yield from cuts(name, rng, 12, 'wrong' if is_json else 'undecidable', 'a shorter file')
        yield from flips(name, rng, 30, 'undecidable',
                         'a changed byte may be another valid setting')
    return mutations


def fits_toml(value):
    "Can TOML as `toml` writes it hold a value?"
    if isinstance(value, dict): return bool(value) and all(map(fits_toml, value.values()))
    if isinstance(value, list): return all(map(fits_toml, value))
    return value is not None and value == value and value not in (INF, -INF)


def toml_files(name):
    texts = dict(a_word='x', two_values='a = 1\na = 2\n', open_list='steps = [1',
                 nan='seed = nan\n',
                 date='seed = 2026-01-01\n', inf='[recipe]\nlr = inf\n', json='{"out": "x"}',
                 table_twice='[model]\n[model]\n', huge='seed = ' + '9'*5000)
    for label, text in texts.items():
        yield mutation(label, 'wrong', replace_bytes(name, text.encode()), place=f'{name}|seed|lr')


# Command lines

WORDS = dict(whole=['0x10', '1.5', 'x', '', 'nan', '-7', '9'*30],
             real=['x', '', 'nan', 'inf', '-inf', '-7', '1e400'])
WHOLE_OPTIONS = '--epochs --bs --d --layers --heads --r --workers --seed'.split()
REAL_OPTIONS = ('--lr --wd --warmup --smoothing --clip --dropout --tau --kd-weight --action-weight '
                '--flip --shift --zoom --jitter').split()
WORD_OPTIONS = ('--protocol --model --features --method --teacher --schedule --pairs '
                '--target').split()


def train_argv(folder):
    line = ('train --data {0}/data --out {0}/run --features boxes --model aformer --d 8 --layers 1 '
            '--r 2 --heads 2 --teacher random128 --protocol fixed --json --quiet')
    return line.format(folder).split()


def read_train(folder, given):
    return command(*train_argv(folder), *(w.replace('PLACE', str(folder)) for w in given or ()))


def train_mutations(folder, rng):
    def more(*argv, place=None):
        option = argv[0].lstrip('-')
        words = (option, option.replace('-', '_'), option.rpartition('.')[2], option.rstrip('s'),
                 ALSO.get(option, option))
        place = place or '|'.join(words)
        return mutation(' '.join(argv)[:70], 'wrong', lambda f: tuple(argv), place=place)
    for kind, options in (('whole', WHOLE_OPTIONS), ('real', REAL_OPTIONS)):
        for option in options:
            for word in WORDS[kind]:
                yield more(option, word)
            yield more(option)
    for option in WORD_OPTIONS:
        for word in ('nosuch', '', 'ＡＣＬＩＰ'): yield more(option, word)
        yield more(option)
    for argv in ('--steps 0', '--steps 4', '--steps x', '--steps 1', '--steps 2.0',
                 '--videos x', '--videos -1', '--videos 999', '--geometry x',
                 '--start-from /nowhere', '--boxes /nowhere', '--boxes tracking',
                 '--adapt x', '--relation.nosuch 1', '--relation.layers -1',
                 '--relation.layers 1.5',
                 '--out /proc/x', '--out /dev/null', '--data /nonexistent', '--data /dev/null',
                 '--teacher /dev/null', '--teacher /', '--config /nowhere',
                 '--store PLACE/s', '--backbone-weights tiny', '--i3d-weights tiny',
                 '--out PLACE/bank.safetensors', '--teacher PLACE/model.safetensors',
                 '--teacher PLACE/bank.safetensors', '--warmup 99', '--heads 3'):
        words = argv.split()
        known = {'--boxes': 'volleyball_tracking|boxes',
                 '--teacher': 'teacher|safetensors|null|text|/: ',
                 '--data': 'data|/nonexistent|/dev/null', '--out': 'out|cannot be',
                 '--heads': 'heads',
                 '--store': 'store', '--config': 'config', '--start-from': 'start-from|nowhere',
                 '--warmup': 'warm', '--backbone-weights': 'weights',
                 '--i3d-weights': 'weights|tiny',
                 '--videos': 'video|999|-1|split'}
        yield more(*words, place=known.get(words[0]))
    for word in ('--nosuch', 'word', '--lr=', '-x', '--d=8=8', '--', '--quiet=1'):
        yield more(word, place='|'.join((word, word.partition('=')[0], 'required')))


OTHER = dict(
    doctor=['--data /nonexistent', '--data /dev/null', '', '--data PLACE/data --boxes x',
            '--data PLACE/data --nosuch', '--data PLACE'],
    evaluate=['', '--model /nowhere --data PLACE/data', '--model PLACE/model.safetensors',
              '--model PLACE/model.safetensors --data PLACE/data',
              '--model PLACE/bank.safetensors --data PLACE/data',
              '--model PLACE/model.safetensors --data /nowhere',
              '--model /dev/null --data PLACE/data', '--model PLACE --data PLACE/data',
              '--model PLACE/model.safetensors --data PLACE/data --split nosuch',
              '--model PLACE/model.safetensors --data PLACE/data --bs 0',
              '--model PLACE/model.safetensors --data PLACE/data --bs -1',
              '--model PLACE/model.safetensors --data PLACE/data --out /proc/x',
              '--model PLACE/model.safetensors --data PLACE/data --out PLACE/bank.safetensors'],
    predict=['', '--model PLACE/model.safetensors --frames /nowhere --boxes PLACE/b.txt',
             '--model PLACE/model.safetensors --frames PLACE --boxes /nowhere',
             '--model PLACE/bank.safetensors --frames PLACE --boxes /nowhere',
             '--model /nowhere --frames PLACE --boxes /nowhere',
             '--model PLACE/model.safetensors --frames PLACE/model.safetensors --boxes x',
             '--model PLACE/model.safetensors --frames PLACE --boxes x --target x'],
    features=['', '--model PLACE/model.safetensors --data PLACE/data --out PLACE/s',
              '--model /nowhere --data PLACE/data --out PLACE/s',
              '--model PLACE/model.safetensors --data /nowhere --out PLACE/s',
              '--model PLACE/model.safetensors --data PLACE/data --out PLACE/data',
              '--model PLACE/model.safetensors --data PLACE/data --out /dev/null',
              '--model PLACE/model.safetensors --data PLACE/data --out PLACE/s --per-shard 0'],
    world=['--out PLACE/data', '--out /proc/x', '--out /dev/null', '--out PLACE/w --clips 0',
           '--out PLACE/w --clips -1', '--out PLACE/w --videos 0',
           '--out PLACE/w --clips 9999999999',
           '--out PLACE/w --difficulty nan', '--out PLACE/w --difficulty 2',
           '--out PLACE/w --size 1 1', '--out PLACE/w --size 99999 99999', '--out PLACE/w --seed x',
           '--out PLACE/w --frames 1', '--out PLACE/data --overwrite', '--out PLACE --overwrite'],
    demo=['--out PLACE/data', '--out /proc/x', '--out PLACE/d --clips 2', '--out PLACE/d --seeds x',
          '--out PLACE/d --model nosuch', '--out PLACE/d --teacher nosuch',
          '--out PLACE/d --difficulty nan', '--out PLACE/data --overwrite'],
    table=['nosuch', '1', '1 --show --out PLACE/nowhere --seeds x',
           '1 --data /nowhere --out PLACE/r',
           '1 --data PLACE/data --out PLACE/r --results PLACE/bank.safetensors',
           '1 --data PLACE/data --out PLACE/r --rows nosuch',
           '1 --data PLACE/data --out PLACE/r --teacher nosuch'])
OTHER['text-bank'] = ['--out /proc/x', '--out PLACE/t --clip nosuch',
                      '--out PLACE/t --clip RN50 --pretrained nosuch', '',
                      '--out PLACE/notes.txt --clip RN50 --pretrained nosuch', '--out PLACE/data']
OTHER['label-errors'] = ['', '--model /nowhere --data PLACE/data',
                         '--model PLACE/model.safetensors',
                         '--model PLACE/model.safetensors --data PLACE/data',
                         '--model PLACE/model.safetensors --data PLACE/data --below nan']
OTHER['bench'] = ['--nosuch', 'x']
OTHER['params'] = ['--nosuch', 'x']


def read_other(folder, given):
    argv = given or ('params', '--json')
    return command(*(w.replace('PLACE', str(folder)) for w in argv), folder=folder)


def other_mutations(folder, rng):
    for name, lines in OTHER.items():
        for line in lines:
            words = [w for w in line.split()]
            options = [w.lstrip('-') for w in words if w.startswith('--')] or [name]
            values = [w.rpartition('/')[2] or w for w in words if not w.startswith('--')]
            # the folder of the input itself is cut out of messages
            place = '|'.join([*options, *values, 'required', ': no such file', ': is a folder'])
            yield mutation(f'aclip {name} {line}', 'wrong',
                           lambda f, n=name, w=words: (n, *w), place=place)
    for argv in (('nosuch',), ('--nosuch',), ('',), ('TRAIN',)):
        yield mutation(f'aclip {argv[0]}', 'wrong', lambda f, a=argv: a,
                       place='command|COMMAND|invalid')


# Environment

ENVIRONMENT = dict(WORLD_SIZE=['x', '', '-1', '0', '1.5'], RANK=['x', '-1'],
                   OMP_NUM_THREADS=['x', '', '0'], PYTHONWARNINGS=['x', 'ignore'],
                   COLUMNS=['x', '0'],
                   HF_HUB_OFFLINE=['x', ''], MPLBACKEND=['nosuch', ''], LANG=['C', 'nosuch'],
                   CUDA_VISIBLE_DEVICES=['', 'x', '-1'], TMPDIR=['/nowhere', ''], LC_ALL=['C'])


def read_in_process(folder, given):
    "A command in a process of its own."
    import subprocess
    import sys
    argv = [sys.executable, '-m', 'aclip.cli', *train_argv(folder)[:-2], '--epochs', '1',
            '--steps', '2', '--json', '--quiet']
    done = subprocess.run(argv, env={**os.environ, **(given or {})}, capture_output=True, text=True)
    if done.returncode: raise Refused(done.stderr[-500:])
    record, = json.loads(done.stdout)
    return {k: record[k] for k in ('best', 'clips', 'trainable')}


def environment_mutations(folder, rng):
    for name, values in ENVIRONMENT.items():
        for value in values:
            yield mutation(f'{name}={value}', 'noticed', lambda f, n=name, v=value: {n: v},
                           place=name)


KINDS = [
    Kind('Config', nothing, read_config, config_mutations),
    Kind('Recipe', nothing, read_recipe, lambda f, rng: arguments(known(BAD_RECIPE))),
    Kind('Distillation', nothing, read_distillation, lambda f, rng: arguments(known(BAD_DISTILL))),
    Kind('RunConfig', seed_data, read_run, lambda f, rng: arguments(BAD_RUN)),
    Kind('ClipSource', seed_data, read_source, lambda f, rng: arguments(known(BAD_SOURCE))),
    Kind('ActivityCLIP', nothing, read_core, core_mutations),
    Kind('teacher and its labels', nothing, read_teacher, teacher_mutations),
    *[Kind(f'settings in {form}', seed_settings(f'run.{form.lower()}'),
           read_settings(f'run.{form.lower()}'), settings_mutations(f'run.{form.lower()}'),
           f'run.{form.lower()}|') for form in ('JSON', 'TOML')],
    Kind('command line of train', seed_data, read_train, train_mutations),
    Kind('other command lines', seed_data, read_other, other_mutations),
    Kind('environment variables', seed_data, read_in_process, environment_mutations,
         seconds=180),
]
