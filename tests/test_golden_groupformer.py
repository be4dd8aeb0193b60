"GroupFormer against the outputs of the official classes, in float64 with the same weights: one entry of `CASES` for each file. Officially actors come first."
import pytest, torch
from torch import nn
from aclip.layers import encode_centres, sinusoids
from aclip.models.clustered_attention import ClusteredAttention, choose, move_centres
from aclip.models.groupformer import GroupFormer, GroupFormerBlock
from aclip.models.scene_tokens import SceneTokens
from aclip.models.cross_attention import load_attention
from golden import FILES, compare, needs_files, some_boxes

BLOCKS = dict(encoder_actor='actors', encoder_temp='frames', decoder_actor1='over_actors', decoder_actor2='over_frames', decoder_temp='group')

def load_clusters(attention, w):
    for theirs,ours in dict(to_q='W_q', to_k='W_k', to_v='W_v', to_out='W_o').items(): getattr(attention, ours).weight.data.copy_(w[f'{theirs}.weight'])
    attention.centres.copy_(w['global_attn.kmeans.means'])

def load_layer(layer, f, prefix):
    "A layer of a stack; its attention by parts of PyTorch's attention, or of the clustered one."
    w = f.w(prefix)
    if isinstance(layer.attention, ClusteredAttention): load_clusters(layer.attention, f.w(f'{prefix}k_attn.get_attn.'))
    else: load_attention(layer.attention, f.w(f'{prefix}self_attn.'))
    for name,m in dict(linear1=layer.ffn[0], linear2=layer.ffn[3], norm1=layer.norm1, norm2=layer.norm2).items():
        m.load_state_dict({k: w[f'{name}.{k}'] for k in ('weight', 'bias')})

def load_stack(layers, f, prefix):
    for i,layer in enumerate(layers): load_layer(layer, f, f'{prefix}layers.{i}.')
    layers[-1].norm.load_state_dict(f.w(f'{prefix}norm.'))

def load_block(block, f, prefix=''):
    for theirs,ours in BLOCKS.items(): load_stack([getattr(block, ours)], f, f'{prefix}{theirs}.')

def sizes(f):
    c = f.arguments['config']
    clusters = c['total_size']['val']//c['window_size']
    return dict(heads=c['Nhead'], d_ff=f.arguments['dim_feedforward'], clusters=clusters, window=c['window_size'])

def kmeans(f, mask):
    means = {'means_1': move_centres(f.x, f.means, mask)}
    last = f.means
    for _ in range(10): last = move_centres(f.x, last, mask)
    scores = nn.functional.normalize(f.x, dim=-1) @ last.mT
    return dict(means_10=last, dists=scores, buckets=scores.argmax(-1), **means)

def attention(f, mask):
    a = f.arguments
    ours = ClusteredAttention(a['dim'], a['heads'], a['max_seq_len']//a['window_size'], a['window_size']).double().eval()
    load_clusters(ours, f.w())
    x = f.x.transpose(0, 1)
    mask = None if mask is None else mask.new_ones(x.shape[:2])
    y,loss = ours(x, mask)
    q,k = (W(x).unflatten(-1, (a['heads'], -1)).transpose(1, 2) for W in (ours.W_q, ours.W_k))
    _,_,scores = ours.route(q, k, mask)
    by_query,by_key = (choose(s, a['window_size'], mask).flatten(-2) for s in scores.split(len(f.x), -2))
    return dict(y=y.transpose(0, 1), aux_loss=loss.mean(), dists=scores, q_index=by_query, k_index=by_key)

def block(f, mask):
    ours = GroupFormerBlock(f.x.shape[-1], **sizes(f)).double().eval()
    load_block(ours, f)
    x = f.x.movedim(0, 2)
    g = f.query[0].view(*x.shape[:2], 1, -1)
    x,g,loss = ours(x, g, None if mask is None else mask.new_ones(x.shape[:3]))
    return dict(memory=x.movedim(2, 0), tgt=g.flatten(0, 2)[None], aux_loss=loss.mean())

class Given(nn.Module):
    "Features that are given."
    def __init__(self, d):
        super().__init__()
        self.d = d
    def forward(self, x, boxes): return x

def head(f, mask):
    net = GroupFormer(Given(f.x.shape[-1]), blocks=f.arguments['config']['num_STTR_layers'], places=False, **sizes(f)).double().eval()
    net.relation.query.data.copy_(f.tensors['w.group_query'])
    load_stack(net.relation.first, f, 'group_tr.')
    for i,b in enumerate(net.relation.blocks): load_block(b, f, f'STTR_module.{i}.')
    f.load(actions_fc=net.action, activities_fc=net.activity.linear)
    given = net.relation.group_token
    scene = f.global_token.mean(0).view(*f.x.shape[:2], -1)
    net.relation.group_token = lambda x, mask=None, _=None: given(x, mask, scene)
    out = net(f.x, some_boxes(f.x), mask)
    return dict(actions=out['action'].flatten(0, 1), activities=out['activity'], aux_loss=net.extra_losses(out, None, None)['cluster_loss'])

def scene(f, mask):
    c = f.arguments['config']
    ours = SceneTokens(c['token_inchannel'], c['embed_channel'], c['token_num'], c['Nhead'], c['num_encoder_layers'], f.arguments['dim_feedforward']).double().eval()
    ours.W_place.weight.data.copy_(f.tensors['w.tokenizer.spatial_conv.0.weight'].flatten(1))
    ours.W_value.load_state_dict({'weight': f.tensors['w.tokenizer.conv.0.weight'].flatten(1), 'bias': f.tensors['w.tokenizer.conv.0.bias']})
    load_stack(ours.layers, f, 'encoder.')
    return dict(tokens=ours.pool(f.x).flatten(0, 1).mT, y=ours(f.x).flatten(0, 1).transpose(0, 1))

def encoding(f, mask):
    "The codes of places, which features here get by `encode_centres`."
    d,h,w = (f.arguments[k] for k in ('d_model', 'height', 'width'))
    rows,columns = (sinusoids(torch.arange(n).double(), d//2) for n in (h, w))
    cells = torch.cat([columns[None].expand(h, w, -1), rows[:, None].expand(h, w, -1)], -1)
    return dict(map2d=cells.permute(2, 0, 1), box2d=encode_centres(f.boxes, d, (1, 1)), seq1d=sinusoids(torch.arange(len(f.tensors['out.seq1d'])).double(), d))

# File -> (Golden, mask) -> outputs by name
CASES = {'clusterattn': attention, 'clusterattn_n7': attention, 'kmeans': kmeans, 'block': block, 'block_n13': block, 'head': head, 'scene': scene, 'encoding': encoding}

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    def case(f, _):
        mask = None
        if masked and name == 'head': mask = torch.ones(f.x.shape[0], f.x.shape[2]).bool()
        elif masked and name == 'kmeans': mask = torch.ones(f.x.shape[0], f.x.shape[2]).bool()
        elif masked: mask = torch.ones(1).bool()
        return CASES[name](f, mask)
    for path in FILES[f'groupformer-{name}']: compare(case, path, False)
