"The learners: what is frozen stays frozen through fastai's training; schedules; arguments that cannot work."
import numpy as np
import pytest, torch
from PIL import Image
from aclip.models.arg import ARG
from aclip.models.backbone import ActorFeatures, Backbone
from aclip.models.base import BaseNet
from aclip.data.clips import Clip
from aclip.data.loaders import clip_dls
from aclip.train.callbacks import Distill
from aclip.train.learner import backbone_learner, lr_schedule, relation_learner

def toy(tmp_path, n=8):
    "Clips with frames on disk."
    paths = []
    for i in range(10): paths.append(tmp_path/f'{i}.jpg'); Image.fromarray(np.full((40, 60, 3), 20*i, np.uint8)).save(paths[-1])
    box = np.array([[.1, .1, .3, .8], [.5, .1, .7, .8]], np.float32)
    return [Clip(f'c/{i}', tuple(paths), np.repeat(box[None], 10, 0), np.array([i % 2, 0]), i % 2, (40, 60)) for i in range(n)]

@pytest.mark.parametrize('step', (1, 2))
def test_frozen_through_fastais_train(step, tmp_path):
    torch.manual_seed(0)
    clips,features = toy(tmp_path),ActorFeatures(Backbone('test_resnet', pretrained=False), 16)
    model = BaseNet(features, 2, 2) if step == 1 else ARG(features, 2, 2, n_graphs=2, d_k=4, n_actors=2)
    before = {k: v.clone() for k,v in features.backbone.state_dict().items()}
    dls = clip_dls(clips[:6], clips[6:], bs=3, size=(40, 60), n_frames=(1, 1) if step == 1 else (3, 3), num_workers=0, device='cpu')
    learn = (backbone_learner if step == 1 else relation_learner)(dls, model)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3)
    moved = {k for k,v in features.backbone.state_dict().items() if not torch.equal(v, before[k])}
    if step == 2: assert not moved
    else: assert moved and not any('running' in k or 'num_batches' in k for k in moved)    # weights learn, statistics stay

@pytest.mark.parametrize('kind', ('cosine', 'constant', 'steps'))
def test_schedules(kind):
    s = lr_schedule(1., .2, kind)
    up,down = [s(i/100) for i in range(20)],[s(i/100) for i in range(20, 101)]
    assert up == sorted(up) and down == sorted(down, reverse=True) and max(up + down) == pytest.approx(1.)

@pytest.mark.parametrize('args,message', [((1., .2, 'linear'), 'choose cosine'), ((1., 1.), 'warm-up'), ((1., 5/3), 'warm-up')])
def test_bad_schedules(args, message):
    with pytest.raises(ValueError, match=message): lr_schedule(*args)

def test_bad_pairs():
    with pytest.raises(ValueError, match="'frame' or 'clip'"): Distill(None, pairs='actor')
