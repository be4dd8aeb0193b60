"STT against the outputs of the official class. In its code the names of the axes are exchanged in self-attention."
import pytest
from torch import nn
from aclip.models.cross_attention import load_attention
from aclip.models.stt import MeanClassifier, STTRelation
from golden import FILES, compare, needs_files

BLOCKS = dict(spatio_attention='frames', temporal_attention='actors', spatio_cross_attention='actors_read_frames', temporal_cross_attention='frames_read_actors')

def load_layer(layer, f, i):
    for official,ours in BLOCKS.items():
        prefix,block = f'layers.{i}.{official}.',getattr(layer, ours)
        load_attention(block.attention, f.w(f'{prefix}multi_head_attention.'))
        for theirs,m in {'feed_forward.0': block.ffn[0], 'feed_forward.2': block.ffn[2], 'norm1': block.norm1, 'norm2': block.norm2}.items(): m.load_state_dict(f.w(f'{prefix}{theirs}.'))

def head(f, mask):
    "Officially actors come before frames; with a classifier after each layer there are scores of each."
    a = f.arguments
    project = nn.Linear(a['input_dim'], a['embed_dim']).double()
    relation = STTRelation(a['embed_dim'], a['num_layers'], a['num_heads']).double().eval()
    classifier = MeanClassifier(a['embed_dim'], a['num_classes']).double()
    f.load(input_projection=project, classifier=classifier.linear)
    for i,layer in enumerate(relation.layers): load_layer(layer, f, i)
    states = relation.outputs(project(f.x).transpose(1, 2), mask)
    scored = states if a['multi_layer_sup'] else states[-1:]
    return dict(layer0=states[0].transpose(1, 2), **{f'logits.{i}': classifier(y, mask) for i,y in enumerate(scored)})

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', ('statt-head', 'statt-head_multisup'))
def test_equals_the_official_class(name, masked):
    for path in FILES[name]:
        def case(f, mask): return head(f, None if mask is None else mask.new_ones(f.x.shape[:2]))
        compare(case, path, masked)
