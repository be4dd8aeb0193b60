"What several test files share: the command, called in this process, the real frames, and image branches on boxes alone."
import contextlib, io, json
from pathlib import Path
import pytest, torch
from torch import nn
from aclip.cli import main

DATA = Path(__file__).resolve().parents[2]/'shared/data/volleyball'
needs_frames = pytest.mark.skipif(not DATA.exists(), reason=f'no real frames at {DATA}')
STEPS = {1: '1-backbone', 2: '2-relation', 3: '3-text'}

def aclip(*argv):
    "Exit status, standard output and standard error of the command."
    out,err = io.StringIO(),io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): status = main([str(a) for a in argv])
    return status,out.getvalue(),err.getvalue()

def aclip_json(*argv):
    "What the command prints with --json, and nothing but JSON on standard output."
    status,out,err = aclip(*argv, '--json', '--quiet')
    assert status == 0, err
    return json.loads(out)

def refused(*argv, says):
    "One line on standard error that starts with the subcommand and holds all of `says`; nothing on standard output."
    status,out,err = aclip(*argv, '--quiet')
    assert (status, out) == (1, ''), (out, err)
    assert len(err.splitlines()) == 1 and err.startswith(f'aclip {argv[0]}: '), err
    for s in says: assert str(s) in err, err

def best(run, step): return run/STEPS[step]/'best.safetensors'

def boxes_file(path, clip):
    "The boxes of a clip's actors, as `aclip predict` takes them."
    h,w = clip.size
    b = clip.boxes[0]*[w, h, w, h]
    path.write_text('\n'.join(f'{x1} {y1} {x2-x1} {y2-y1}' for x1,y1,x2,y2 in b))
    return path

class BoxFeatures(nn.Module):
    "Actor features from boxes, in place of a backbone; with the parts that training looks for."
    def __init__(self, d):
        super().__init__()
        self.d,self.backbone,self.embedding = d,nn.Linear(4, 4),nn.Linear(4, d)
    def forward(self, frames, boxes): return self.embedding(self.backbone(boxes))

def batch(T, N, seed=0):
    "Two clips without pixels, of which the second has two actors fewer."
    g = torch.Generator().manual_seed(seed)
    c = torch.rand(2, T, N, 2, generator=g)*.8 + .1
    mask = torch.ones(2, N).bool()
    if N > 2: mask[1, N-2:] = False
    return torch.zeros(2, T, 3, 1, 1, dtype=torch.uint8),torch.cat([c - .05, c + .05], -1),mask
