"Failures of backbones, of PyTorch and of scores: one sentence that names the thing, before the work where that is possible."
import pytest, timm, torch
from torch import nn
from aclip.command_line.failures import error_line
from aclip.config import Config
from aclip.data.loaders import clip_dl
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.evaluate.scores import predict_scores
from aclip.data.source import ClipSource
from aclip.models.backbone import ActorFeatures, Backbone
from aclip.models.person_crops import PersonFeatures
from aclip.zoo import check_model, create_model, save_model
from helpers import aclip, refused
from test_loaders import CLIPS

boxes = torch.tensor([.1, .2, .4, .8]).expand(1, 1, 2, 4)
def actor(name, size, **kw): return ActorFeatures(Backbone(name, pretrained=False, **kw).eval(), d=8)(torch.zeros(1, 1, 3, *size, dtype=torch.uint8), boxes)

@pytest.mark.parametrize('name,size', [('test_vit', (96, 160)), ('vit_tiny_patch16_224', (96, 160)), ('deit_tiny_patch16_224', (224, 224)), ('swin_tiny_patch4_window7_224', (224, 224)),
                                       ('swin_tiny_patch4_window7_224', (96, 160)), ('swinv2_cr_tiny_224', (96, 160)), ('convnext_atto', (90, 160)), ('test_resnet', (91, 163)), ('vgg11', (96, 160)),
                                       ('mobilenetv3_small_050', (90, 160))])
def test_backbones_that_take_the_size(name, size):
    backbone = Backbone(name, pretrained=False).eval()
    backbone.check_size(size)
    with torch.no_grad(): maps = backbone(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert maps.ndim == 4 and maps.shape[1] == backbone.channels and maps.shape[2] < size[0] and maps.shape[3] >= maps.shape[2]
    assert actor(name, size).shape == (1, 1, 2, 8)

def test_maps_with_channels_last_are_turned():
    torch.manual_seed(0)
    backbone = Backbone('swin_tiny_patch4_window7_224', pretrained=False, out_indices=(1, 2)).eval()
    x = torch.rand(1, 3, 224, 224)
    for ours, theirs in zip(backbone.maps(x), backbone.net(x)): assert torch.equal(ours, theirs.permute(0, 3, 1, 2))

REFUSED = [('test_vit', (90, 160), 'divisible by patch size'), ('beit_base_patch16_224', (96, 160), "doesn't match model"), ('mixer_s32_224', (224, 160), "doesn't match"),
           ('hiera_tiny_224', (96, 160), '224 x 224'), ('test_maxvit', (96, 160), 'divisible by window'), ('inception_v3', (20, 20), 'inception_v3')]

@pytest.mark.parametrize('name,size,says', REFUSED)
def test_backbones_that_do_not(name, size, says):
    for trial in (lambda: Backbone(name, pretrained=False).check_size(size), lambda: actor(name, size)):
        with pytest.raises(ValueError, match=says) as e: trial()
        for part in (f'backbone {name}', f'{size[0]} x {size[1]}', '--size', 'resnet18'): assert part in str(e.value)

def test_crops_of_actors():
    with pytest.raises(ValueError, match='cannot take pictures of 48 x 48'): PersonFeatures(Backbone('beit_base_patch16_224', pretrained=False))

def test_other_errors_of_a_net_pass_through(monkeypatch):
    backbone = Backbone('test_resnet', pretrained=False).eval()
    for error in (torch.OutOfMemoryError('CUDA out of memory'), RuntimeError('CUDA error: device-side assert triggered'), AssertionError('own')):
        def fail(x): raise error
        monkeypatch.setattr(backbone.net, 'forward', fail)
        with pytest.raises(type(error)) as e: backbone(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        assert e.value is error

@pytest.mark.parametrize('name', ['test_resnet', 'test_vit'])
def test_weights_and_maps_are_those_of_timm(name):
    "The option for other sizes changes no number at the net's own size, and draws none."
    torch.manual_seed(0)
    ours = Backbone(name, pretrained=False).eval()
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True, out_indices=(-1,)).eval()
    for (k, a), b in zip(ours.net.state_dict().items(), theirs.state_dict().values()): assert torch.equal(a, b), k
    x = torch.rand(1, 3, *ours.net.pretrained_cfg['input_size'][1:])
    with torch.no_grad(): assert torch.equal(ours.maps(x)[0], theirs(x)[0])

@pytest.mark.parametrize('indices', [(99,), (-9,)])
@pytest.mark.parametrize('name', ['test_resnet', 'test_vit'])
def test_maps_that_do_not_exist(name, indices):
    with pytest.raises(ValueError, match='has no feature map'): Backbone(name, pretrained=False, out_indices=indices)

def config(step=2, **kw):
    return Config(list(ACTIVITIES), list(ACTIONS), **{**dict(step=step, backbone='test_resnet', out_indices=[1], d=16, crop=3, size=(90, 160), relation=dict(n_graphs=2, d_k=4)), **kw})

@pytest.mark.parametrize('kw', [dict(step=1), dict(step=2), dict(step=3, text=dict(r=2, d2=16, layers=1, heads=2)), dict(model='aformer', features='middle', relation={})])
def test_a_model_is_tried_without_numbers(kw):
    check_model(config(**kw))
    with pytest.raises(ValueError, match='backbone test_vit cannot take pictures of 90 x 160'): check_model(config(backbone='test_vit', **kw))

def test_crops_do_not_depend_on_the_size_of_frames(): check_model(config(backbone='test_vit', features='person', crop=48))

@pytest.fixture(scope='module')
def world(tmp_path_factory): return make_world(tmp_path_factory.mktemp('w')/'world', clips=8, videos=4, size=(90, 160), workers=0, progress=False)

def train(world, out, *more): return ('train', '--data', world, '--available', '--tiny', '--steps', 1, '--epochs', 1, '--teacher', 'none', '--workers', 0, '--out', out, *more)

def test_before_data_is_read(world, tmp_path, monkeypatch):
    monkeypatch.setattr(ClipSource, 'read', lambda *a: pytest.fail('data was read'))
    refused(*train(world, tmp_path, '--backbone', 'test_vit', '--out-indices', 1, '--size', 90, 160), says=['backbone test_vit', '90 x 160', 'patch size'])
    assert not any(tmp_path.iterdir())

ERRORS = [(torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.\nMore'), ['out of memory', '--bs']), (MemoryError(), ['out of memory', '--size']),
          (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), ['out of memory', '--workers']),
          (RuntimeError('mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)'), ['mat1 and mat2', '--debug', 'issues']),
          (NotImplementedError("Could not run 'torchvision::nms' with arguments from the 'CUDA' backend"), ['NotImplementedError', 'nms', '--debug']),
          (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), ['--workers 0', '/dev/shm']),
          (RuntimeError('Exception occured in `Distill` when calling event `after_loss`:\n\tCUDA error: out of memory\nCompile with'), ['out of memory']), (RuntimeError(), ['RuntimeError'])]

@pytest.mark.parametrize('error,says', ERRORS)
@pytest.mark.parametrize('where', ['evaluate.evaluation:load_model', 'evaluate.evaluation:predict_scores'])
def test_errors_of_torch_are_one_line(world, tmp_path, monkeypatch, error, says, where):
    save_model(tmp_path/'m.safetensors', create_model(config()), config())
    def fail(*a, **k): raise error
    monkeypatch.setattr('aclip.' + where.replace(':', '.'), fail)
    command = ('evaluate', '--model', tmp_path/'m.safetensors', '--data', world, '--available', '--workers', 0)
    refused(*command, says=says)
    with pytest.raises(type(error)): aclip(*command, '--debug')

@pytest.mark.parametrize('error', [TypeError('a'), KeyError('a'), AttributeError('a'), AssertionError('a'), IndexError('a'), ZeroDivisionError('a')])
def test_bugs_show_their_traceback(world, tmp_path, monkeypatch, error):
    save_model(tmp_path/'m.safetensors', create_model(config()), config())
    def fail(*a, **k): raise error
    monkeypatch.setattr('aclip.evaluate.evaluation.predict_scores', fail)
    with pytest.raises(type(error)): aclip('evaluate', '--model', tmp_path/'m.safetensors', '--data', world, '--available', '--workers', 0)

def test_an_error_line_has_one_line():
    for error, _ in ERRORS: assert len(error_line(error).splitlines()) == 1

class Broken(nn.Module):
    "Scores with one number that is wrong, in a chosen clip, output and actor."
    def __init__(self, key, value, clip, actor=None):
        super().__init__()
        self.w, self.key, self.value, self.clip, self.actor, self.seen = nn.Linear(1, 1), key, value, clip, actor, 0
    def forward(self, frames, boxes, mask):
        B, N = mask.shape
        out = dict(activity=torch.zeros(B, 2), activity_text=torch.zeros(B, 2), action=torch.zeros(B, N, 3), text=torch.zeros(B, 1, N, 4), other=torch.full((B, 2), torch.nan))
        place = self.clip - self.seen
        self.seen += B
        if 0 <= place < B: out[self.key][(place, 1) if self.actor is None else (place, self.actor, 1)] = self.value
        return out

@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('key', ['activity', 'activity_text', 'action'])
@pytest.mark.parametrize('clip', [0, 5, 11])
def test_scores_that_are_not_finite(key, value, clip):
    dl = clip_dl(CLIPS, 4, None, 3, num_workers=0, n_actors=3, device='cpu')
    broken = lambda: Broken(key, value, clip, 1 if key == 'action' else None)
    for progress in (False, True):
        with pytest.raises(ValueError, match=f'clip v/{clip}: the scores {key} are'): predict_scores(broken(), dl, progress)
    with pytest.raises(ValueError, match=f'clip number {clip % 4} of batch {clip//4}: '): predict_scores(broken(), [*dl])
    predict_scores(Broken('action', value, clip, 2), dl)     # a padded actor

def test_a_shuffled_loader_names_the_clip():
    class Own(Broken):
        def forward(self, frames, boxes, mask):
            out = super().forward(frames, boxes, mask)
            out['activity'][(boxes[:, 0, 0, 2] - .57).abs() < 1e-4] = torch.nan          # clip 7
            return out
    with pytest.raises(ValueError, match='clip v/7: '): predict_scores(Own('activity', 0., 99), clip_dl(CLIPS, 4, None, 3, train=True, num_workers=0, device='cpu'))

@pytest.mark.parametrize('command', ['evaluate', 'label-errors', 'predict'])
def test_a_model_that_overflows(world, tmp_path, command):
    "Finite weights, infinite scores: no accuracy of guessing, no first class."
    net = create_model(config())
    with torch.no_grad():
        for p in net.activity.parameters(): p.fill_(3e38)
    save_model(tmp_path/'m.safetensors', net, config())
    video = next(v for v in sorted((world/'videos').iterdir()) if any(v.glob('*/*.jpg')))
    clip = next(f.parent for f in sorted(video.glob('*/*.jpg')))
    (tmp_path/'boxes.txt').write_text('10 10 30 50\n60 20 20 40\n')
    options = ['--frames', clip, '--boxes', tmp_path/'boxes.txt'] if command == 'predict' else ['--data', world, '--available', '--workers', 0, *['--split', 'train']]
    refused(command, '--model', tmp_path/'m.safetensors', *options, says=['clip ', 'NaN or infinite'])
