"The command with what users give it by mistake: one clear line, exit status 1, nothing lost."
import json, shutil, subprocess, sys
import pytest
from PIL import Image
from aclip.cli import COMMANDS, RENAMED, command_parser, main
from aclip.text.bank import TextBank
from aclip.data.volleyball_annotation import ACTIONS, WINDOW
from helpers import STEPS, aclip, aclip_json, best as best_of, refused
from test_checkpoint import small_disk

SIZE = (90, 160)
CLIPS = {'1/100': 'r-pass 10 20 30 40 standing 50 20 30 40 moving 90 20 30 40 blocking', # training
         '3/100': 'l_set 5 20 30 40 waiting 50 40 30 40 setting',                        # training
         '4/100': 'l-spike 10 20 30 40 spiking 50 20 30 40 standing'}                    # test
PLAIN = '--tiny --size 45 80 --d 16 --relation.n_graphs 2 --epochs 1 --warmup 0 --workers 0 --available --protocol overfit'.split()
SMALL = [*PLAIN, *'--layers 0 --r 2'.split()]       # with a small text branch

def write_frames(folder, names, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for n in names: Image.effect_noise(size[::-1], 80).convert('RGB').save(folder/n)
    return folder

def world(root):
    for name,line in CLIPS.items():
        video,m = name.split('/')
        write_frames(root/'videos'/name, [f'{int(m)+d}.jpg' for d in WINDOW])
        (root/'videos'/video/'annotations.txt').write_text(f'{m}.jpg {line}\n')
    return root

@pytest.fixture
def data(tmp_path): return world(tmp_path/'data')

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A dataset, a run of all three steps, and two banks: not to be changed."
    made = tmp_path_factory.mktemp('made')
    TextBank.random(ACTIONS).save(made/'bank.safetensors')
    TextBank.random(['running', 'sleeping']).save(made/'other.safetensors')
    status,_,err = aclip('train', *SMALL, '--data', world(made/'data'), '--out', made/'run', '--teacher', made/'bank.safetensors', '--quiet')
    assert status == 0, err
    return made

def best(made, step): return best_of(made/'run', step)

# --- train -------------------------------------------------------------------

@pytest.mark.parametrize('old,new,says', [('moving', 'running', "unknown action 'running'"), ('50 20', '50 2O', "'2O'"), (' blocking', '', '16 fields'), ('50 20 30', '50 20 0', 'no area')])
def test_malformed_annotation(data, tmp_path, old, new, says):
    path = data/'videos/1/annotations.txt'
    path.write_text(path.read_text().replace(old, new, 1))
    refused('train', *SMALL, '--data', data, '--out', tmp_path/'run', '--steps', 1, says=[f'{path}:1: ', says])
    assert not (tmp_path/'run').exists()

@pytest.mark.parametrize('argv,says', [
    ('--steps 2', ['step 2 builds on step 1', '1-backbone/best.safetensors', '--start-from']),
    ('--steps 1 3 --teacher random', ['step 3 builds on step 2', '--start-from']),
    ('--steps 1 --start-from {1}', ['step 1 builds on no checkpoint']),
    ('--steps 2 --start-from {2}', ['step 2 builds on step 1, but this checkpoint is of step 2']),
    ('--steps 2 --start-from {bank}', ['bank.safetensors: no model in it']),
    ('--steps 3 --start-from {2}', ['step 3 needs a teacher', '--teacher', '--teacher none']),
    ('--steps 3 --start-from {2} --method series --teacher none', ['the series baseline reads the text features', '--teacher']),
    ('--steps 3 --start-from {2} --teacher {other}', ['the bank has no text for blocking', 'aclip text-bank']),
    ('--steps 3 --start-from {2} --teacher {2}', ['not a text bank']),
    ('--steps 3 --start-from {2} --teacher nowhere', ["no teacher 'nowhere'"]),
    ('--steps 3 --start-from {2} --teacher random --relation.norm features', ['step 2 was trained with relation.norm=nodes', 'asks for features']),
    ('--steps 1 --boxes tracking', ['volleyball_tracking_annotation']),
    ('--steps 1 --protocol val', ["no clip of split 'val'", '--protocol']),
    ('--steps 1 --warmup 1', ['warm-up']),
    ('--steps 1 --backbone nosuch', ["no model 'nosuch'"]),
    ('--steps 1 --backbone-weights nowhere', ['no file nowhere'])])
def test_train_refuses(made, tmp_path, argv, says):
    names = {str(s): best(made, s) for s in STEPS} | {b: made/f'{b}.safetensors' for b in ('bank', 'other')}
    for k,v in names.items(): argv = argv.replace('{'+k+'}', str(v))
    refused('train', *(PLAIN if 'series' in argv else SMALL), '--data', made/'data', '--out', tmp_path/'run', *argv.split(), says=says)
    assert not list(tmp_path.rglob('*.*'))

@pytest.mark.parametrize('argv', ['--epochs 0', '--bs 0', '--lr nan', '--wd -1', '--workers -1', '--size 0 80', '--d 0', '--relation.n_graphs 0', '--r 0', '--layers -1', '--steps 4'])
def test_numbers_out_of_range(made, tmp_path, argv):
    name = argv.split()[0].removeprefix('--').removeprefix('relation.').rstrip('s')
    refused('train', *SMALL, '--data', made/'data', '--out', tmp_path/'run', '--teacher', 'none', *argv.split(), says=[name])
    assert not list(tmp_path.iterdir())

def test_a_word_for_a_number(capsys):
    with pytest.raises(SystemExit) as e: main(['train', '--data', 'x', '--out', 'y', '--epochs', 'x'])
    assert e.value.code == 2 and '--epochs' in capsys.readouterr().err

@pytest.mark.parametrize('old', sorted(RENAMED))
def test_an_option_of_0_1_0_names_the_new_one(made, tmp_path, old):
    refused('train', *SMALL, '--data', made/'data', '--out', tmp_path/'run', old, says=[f'{old} of aclip 0.1.0 is now {RENAMED[old]}'])

def test_bare_command_prints_help(capsys):
    with pytest.raises(SystemExit) as e: main([])
    assert e.value.code == 0 and all(name in capsys.readouterr().out for name in ('train', 'label-errors')[:1])

@pytest.mark.parametrize('name', COMMANDS)
def test_every_option_has_a_description_and_a_default(name):
    for action in command_parser(name)._actions:
        assert action.help, (name, action.option_strings)
        if action.option_strings and not action.required and '--help' not in action.option_strings: assert 'default' in action.help, (name, action.option_strings, action.help)

def test_the_file_of_a_run_repeats_it(made, tmp_path):
    file = made/'run/config.json'
    status,_,err = aclip('train', '--config', file, '--out', tmp_path/'again', '--quiet')
    assert status == 0, err
    for step in STEPS: assert best_of(tmp_path/'again', step).read_bytes() == best(made, step).read_bytes()

def test_settings_in_toml(made, tmp_path):
    file = tmp_path/'run.toml'
    file.write_text(f'out = "{tmp_path/"run"}"\nsteps = [1]\nprotocol = "overfit"\n[source]\ndata = "{made/"data"}"\navailable = true\nworkers = 0\n'
                    '[model]\nbackbone = "test_resnet"\nout_indices = [2]\nd = 16\nsize = [45, 80]\n[weights]\npretrained = false\n[recipe]\nepochs = 1\nbs = 2\n')
    assert [r['recipe']['epochs'] for r in aclip_json('train', '--config', file)] == [1]
    file.write_text(file.read_text().replace('epochs', 'epoks'))
    refused('train', '--config', file, says=['run.toml', "no setting 'recipe.epoks'"])

def copy_run(made, tmp_path):
    run = shutil.copytree(made/'run', tmp_path/'run')
    return run,{f: f.read_bytes() for f in (run/STEPS[1]).glob('*.safetensors')}

def test_full_disk_keeps_the_old_checkpoints(made, tmp_path):
    run,before = copy_run(made, tmp_path)
    with small_disk(): refused('train', *SMALL, '--data', made/'data', '--out', run, '--steps', 1, '--overwrite', says=['cannot be written', 'with room on the disk'])
    assert {f: f.read_bytes() for f in (run/STEPS[1]).iterdir() if f.suffix not in ('.csv', '.json')} == before   # no half-written file either

def test_divergence_keeps_the_old_checkpoints(made, tmp_path):
    run,before = copy_run(made, tmp_path)
    refused('train', *SMALL, '--data', made/'data', '--out', run, '--steps', 1, '--overwrite', '--lr', 1e30, '--warmup', 0, says=['epoch 1', 'diverged', 'lower lr'])
    assert {f: f.read_bytes() for f in before} == before

def test_another_command_finds_the_folder_taken(made, tmp_path):
    run,before = copy_run(made, tmp_path)
    other = 'train', *SMALL, '--data', made/'data', '--out', run, '--steps', 1, '--seed', 1
    refused(*other, says=['already holds best.safetensors by a run with other arguments or data; choose'])
    (run/STEPS[1]/'run.json').unlink()
    refused(*other, says=['best.safetensors of a run with other arguments or data that did not end; choose'])
    assert {f: f.read_bytes() for f in before} == before

def test_the_same_command_goes_on(made, tmp_path):
    "Steps 1 and 3 are finished, step 2 was killed: it is trained once more, to the same weights."
    run,_ = copy_run(made, tmp_path)
    files = lambda: {f.relative_to(run): f.read_bytes() for f in run.rglob('*.safetensors')}
    before,times = files(),{s: (run/n/'run.json').stat().st_mtime_ns for s,n in STEPS.items()}
    (run/STEPS[2]/'run.json').unlink(); (run/STEPS[2]/'.last.safetensors.1.part').write_bytes(b'half')
    r = aclip_json('train', *SMALL, '--data', made/'data', '--out', run, '--teacher', made/'bank.safetensors')
    assert [o['step'] for o in r] == [1, 2, 3] and files() == before
    assert [s for s,n in STEPS.items() if (run/n/'run.json').stat().st_mtime_ns != times[s]] == [2] and not [*run.rglob('*.part')]

@pytest.mark.parametrize('command', ['demo', 'predict'])
def test_what_runs_in_one_process(command, made, tmp_path, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2'); monkeypatch.setenv('RANK', '0')
    argv = dict(demo=['--out', tmp_path/'demo'], predict=['--model', best(made, 3), '--frames', tmp_path, '--boxes', tmp_path/'b.txt'])[command]
    refused(command, *argv, says=['runs in one process', 'features, train, evaluate', 'without torchrun'])

def test_steps_run_in_order_and_once(made, tmp_path):
    status,out,err = aclip('train', *SMALL, '--data', made/'data', '--out', tmp_path, '--steps', 2, 1, 2, '--json')
    assert status == 0 and [r['step'] for r in json.loads(out)] == [1, 2]
    assert '1-backbone: 2 clips, 1 epoch' in err and 'activity_loss' in err                  # the progress table

def test_weights_that_cannot_be_fetched(made, tmp_path, monkeypatch):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'cache'))
    argv = [a for a in SMALL if a != '--tiny']
    refused('train', *argv, '--data', made/'data', '--out', tmp_path/'run', '--backbone', 'resnet18', '--steps', 1, says=['could not fetch the weights of resnet18', '--backbone-weights FILE', '--no-pretrained'])

@pytest.mark.parametrize('how', ['--method series', '--adapt scratch'])
def test_other_text_branches(made, tmp_path, how):
    "Trained by the command, and read back from the file alone."
    small = SMALL if how == '--adapt scratch' else PLAIN             # the baseline has no layers and no rank
    status,out,err = aclip('train', *small, '--data', made/'data', '--out', tmp_path, '--steps', 3, '--start-from', best(made, 2), '--teacher', made/'bank.safetensors', *how.split(), '--json', '--quiet')
    assert status == 0, err
    run, = json.loads(out)
    config = run['config']
    assert (config['method'], config['text'].get('adapt', 'lora')) == {'--method series': ('series', 'lora'), '--adapt scratch': ('aclip', 'scratch')}[how]
    assert run['teacher']['model'] == 'random' and ('kd_loss' in run['best']) == (how == '--adapt scratch') and ('action_loss' in run['best']) == (how == '--method series')
    model = tmp_path/STEPS[3]/'best.safetensors'
    status,out,err = aclip('evaluate', '--model', model, '--data', made/'data', '--available', '--workers', 0, '--json', '--quiet')
    assert status == 0 and {'activity', 'activity_image', 'activity_text', 'action'} <= set(json.loads(out)), err
    status,out,_ = aclip('predict', '--model', model, *own(tmp_path, NUMBERED, row(2)), '--json')
    assert status == 0 and json.loads(out)['activity']

# --- doctor, evaluate --------------------------------------------------------

def test_doctor_tells_by_its_status(data):
    assert aclip('doctor', '--data', data, '--quiet')[0] == 0
    (data/'videos/3/100/101.jpg').write_bytes(b'')
    status,out,_ = aclip('doctor', '--data', data, '--json')
    assert status == 1 and not json.loads(out)['ok']

@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('keep', [800, 0])
def test_damaged_frame(made, data, workers, keep):
    frame = data/'videos/4/100/101.jpg'
    frame.write_bytes(frame.read_bytes()[:keep])
    refused('evaluate', '--model', best(made, 3), '--data', data, '--available', '--workers', workers, says=[f'{frame} (clip 4/100): cannot be decoded', 'Copy the file again'])

@pytest.mark.parametrize('step', STEPS)
def test_standard_output_is_the_result_alone(made, step):
    argv = 'evaluate', '--model', best(made, step), '--data', made/'data', '--available', '--workers', 0
    status,out,err = aclip(*argv, '--json')
    assert status == 0 and json.loads(out)['clips'] == 1 and '1/1' in err     # the bar is on standard error
    assert aclip(*argv)[1].startswith('1 clip of test\n')

def test_a_place_that_cannot_be_written(made):
    refused('evaluate', '--model', best(made, 1), '--data', made/'data', '--available', '--out', best(made, 1), says=['cannot be made', 'choose a folder'])

def test_interrupt_is_no_traceback(monkeypatch, tmp_path):
    def stop(*_, **__): raise KeyboardInterrupt
    monkeypatch.setattr('aclip.data.doctor.detect_dataset', stop)
    assert aclip('doctor', '--data', tmp_path) == (130, '', 'aclip doctor: stopped\n')

def test_a_reader_who_has_seen_enough():
    "`aclip ... | head` ends without a traceback."
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'aclip.cli', 'params'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    p.stdout.close()
    assert p.stderr.read() == '' and p.wait() == 0

def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match='no such folder'): main(['evaluate', '--model', 'nowhere', '--data', 'x', '--debug'])

# --- predict -----------------------------------------------------------------

def own(tmp_path, names, boxes, size=SIZE):
    (tmp_path/'b.txt').write_text(boxes)
    return '--frames', write_frames(tmp_path/'frames', names, size), '--boxes', tmp_path/'b.txt'

NUMBERED = [f'{i}.png' for i in range(12)]
def row(n): return '\n'.join(f'{5*i} 20 30 40' for i in range(n))

@pytest.mark.parametrize('names,boxes,actors', [
    (NUMBERED, row(1), 1), (NUMBERED[:9], row(12), 12), ([f'cam2_{i:03d}.JPEG' for i in range(40)], '# two\n1,2,30,40\n\n5 6 30 40', 2),
    (NUMBERED, '-5 -5 30 30', 1), (NUMBERED, '5 7 1 2 30 40\n6 7 1 2 30 40\n6 9 4 2 30 40', 2)])
def test_predict(made, tmp_path, names, boxes, actors):
    status,out,err = aclip('predict', '--model', best(made, 3), *own(tmp_path, names, boxes, (100, 200)), '--json')  # frames of another size
    r = json.loads(out)
    assert status == 0 and len(r['actors']) == actors and len(r['frames']) == min(10, len(names))

@pytest.mark.parametrize('names,boxes,says', [
    (NUMBERED[:8], row(2), ['8 frames, but this model looks at 9']), (NUMBERED, row(13), ['b.txt: 13 actors', 'made for 12']),
    (NUMBERED + ['x_3.jpg'], row(2), ['3.png', 'x_3.jpg', 'the same number']), (NUMBERED + ['cover.png'], row(2), ['cover.png: no number']),
    ([], row(2), ['frames: no .jpg or .png']), (NUMBERED, '# x\n1 2 30 40\n500 2 3 4', ['b.txt:3: ', 'outside the frame']),
    (NUMBERED, '1 2 0 4', ['b.txt:1: ', 'no area']), (NUMBERED, '90 0 1 2 30 40', ['b.txt: boxes of frames 90 to 90', 'Number frames and boxes alike'])])
def test_predict_refuses(made, tmp_path, names, boxes, says):
    refused('predict', '--model', best(made, 3), *own(tmp_path, names, boxes), says=says)

@pytest.mark.parametrize('target', [0, 2, 6, 11])
def test_predict_says_where_the_target_stands(made, tmp_path, target):
    "Near the end of a video the window moves inwards, the target stays the target."
    boxes = '\n'.join(f'{i} 1 {5*i} 20 30 40' for i in range(12))
    r = json.loads(aclip('predict', '--model', best(made, 3), *own(tmp_path, NUMBERED, boxes), '--target', target, '--json')[1])
    assert r['target'] == f'{target}.png' in r['frames'] and r['actors'][0]['box'][0] == pytest.approx(5*target/SIZE[1], abs=1e-3)

def test_predict_with_one_frame(made, tmp_path):
    "The model of step 1 needs no more."
    assert aclip('predict', '--model', best(made, 1), *own(tmp_path, ['7.png'], row(20)))[0] == 0

@pytest.mark.parametrize('at', [0, 5])
def test_predict_names_a_damaged_frame(made, tmp_path, at):
    argv = own(tmp_path, NUMBERED[:10], row(2))
    (tmp_path/f'frames/{at}.png').write_bytes(b'x')
    refused('predict', '--model', best(made, 3), *argv, says=[f'frames/{at}.png', 'Expected a whole image file'])

@pytest.mark.parametrize('model,says', [('bank.safetensors', 'no model in it (a text bank?)'), ('nowhere', 'no such file'), ('data/videos/1/annotations.txt', 'not a whole safetensors file')])
def test_predict_with_no_model(made, tmp_path, model, says):
    refused('predict', '--model', made/model, *own(tmp_path, NUMBERED, row(2)), says=[model, says])

def test_no_folder_of_frames(made, tmp_path):
    refused('predict', '--model', best(made, 3), '--frames', tmp_path/'nowhere', '--boxes', 'b.txt', says=['nowhere: no such folder'])
