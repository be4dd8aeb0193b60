"STBiP against the outputs of the official class, in float64 with the same weights: one entry of `CASES` for each file."
import pytest, torch
from aclip.models.bilinear import STBiPRelation, connected, load_stbip
from golden import FILES, compare, needs_files

COLUMNS,ROWS = 40,22                                        # cells of the feature map

def stbip(f, masked):
    "The official edges are made of boxes in cells; ours of boxes in 0..1."
    a,forward = f.arguments,f.arguments['forward']
    x = f.x.unflatten(0, (-1, a['T']))
    boxes = (f.boxes/torch.tensor([COLUMNS, ROWS]*2)).view(*x.shape[:3], 4)
    assert torch.equal(~connected(boxes.flatten(1, 2), None, .3, ROWS/COLUMNS), f.mask.bool())
    relation = STBiPRelation(a['emb_fea_num'], a['num_heads'], a['message_fea_num'], fusion=forward['fusion_method'], shortcut=forward['shortcut_connection'], reach=.3).double().eval()
    load_stbip(relation, f.w())
    nodes,edges = relation._nodes(x, boxes)
    for i,A in enumerate(relation.weights(nodes, edges).unbind(1)): assert (A - f.tensors[f'mid.relation{i}']).abs().max() < 1e-6
    mask = torch.ones(x.shape[0], x.shape[2]).bool() if masked else None
    return dict(y=relation(x, boxes, mask).flatten(0, 1))

# File -> (Golden, with a mask?) -> outputs by name
CASES = {name: stbip for name in ('stbip-sum', 'stbip-sum-shortcut', 'stbip-cat')}

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    for path in FILES[name]: compare(lambda f, _: CASES[name](f, masked), path, False)
