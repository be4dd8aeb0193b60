"DIN and HiGCIN against the outputs of the official classes, in float64 with the same weights: one entry of `CASES` for each file."
import pytest, torch
from torch import nn
from aclip.models.cross_block import CrossBlock, load_higcin
from aclip.models.din import DINRelation, make_din
from aclip.models.dynamic_field import load_din
from aclip.models.higcin import make_higcin
from golden import FILES, Embedding, compare, needs_files, some_boxes

# --- DIN --------------------------------------------------------------------------

def din_relation(f, **arguments):
    B,T,N,d = f.x.shape
    return DINRelation(d, T, N, border='double', **arguments).double().eval()

def din_module(names='DIMlist.{}', ratios=(1,), **arguments):
    "The module without residual and norm."
    def run(f, mask):
        relation = din_relation(f, ratios=ratios, **arguments)
        for i,field in enumerate(relation.fields): load_din(field, f.w(names.format(i) + '.'), ratios)
        return dict(y=relation.infer(f.x, mask))
    return run

def din_hierarchical(f, mask):
    relation = din_relation(f, fields='factorised')
    for i,field in enumerate(relation.fields): load_din(field, f.w(f'DPI_{i+1}.'))
    f.load(hier_LN=relation.between.norm)
    return dict(y=relation.infer(f.x, mask))

def din_gradient(f, mask):
    "At the start, with respect to the biases of both convolutions and the input."
    relation = din_relation(f)
    field, = relation.fields
    load_din(field, f.w('DIMlist.0.'))
    x = f.x.clone().requires_grad_()
    y = relation.infer(x, mask)
    grads = torch.autograd.grad((y*f.cotangent).sum(), (field.offset[0].bias, field.scale[0].bias, x))
    return dict(y=y, **dict(zip(('grad_offset_bias', 'grad_scale_bias', 'grad_x'), grads)))

def din_net(field='DPI.DIMlist.0.', **arguments):
    "The whole network; where boxes are padded, the official LayerNorm of the light form counts them too."
    def run(f, mask):
        cfg = f.arguments['cfg']
        d_in,d = f.w()['fc_emb_1.weight'].shape[::-1]
        net = make_din(Embedding(d_in, d), cfg.get('num_activities', 8), lite=cfg.get('lite_dim') or 0, n_frames=cfg['num_frames'], n_actors=cfg['num_boxes'], **arguments).double().eval()
        load_din(net.relation.fields[0], f.w(field))
        f.load(fc_emb_1=net.features.embedding, nl_emb_1=net.norm, dpi_nl=net.relation.norm, fc_activities=net.activity.linear)
        if cfg.get('lite_dim'): f.load(point_conv=net.point, point_ln=net.point_norm)
        if 'in.num' in f.tensors: mask = torch.arange(cfg['num_boxes']) < f.num[:, :1]
        x = net.embed(f.roi, f.boxes)
        return dict(activities=net.classify(net.relation(x, f.boxes, mask), mask)[0])
    return run


# --- HiGCIN -----------------------------------------------------------------------

def higcin_block(mode='cross'):
    "The official block, whose table is (B, d, T, S)."
    def run(f, mask):
        block = CrossBlock(f.x.shape[1], mode=mode).double().eval()
        load_higcin(block, f.w())
        return dict(y=block(f.x.permute(0, 2, 3, 1), mask).permute(0, 3, 1, 2))
    return run

def higcin_din_block(f, mask):
    block = CrossBlock(f.x.shape[-1], 'benchmark').double().eval()
    load_higcin(block, f.w())
    return dict(y=block(f.x, mask))

class Crops(nn.Module):
    "In place of backbone and RoIAlign: the maps of the crops themselves, (B, T, N, C, K, K)."
    def __init__(self, channels):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.channels = channels
    def crops(self, frames, boxes): return frames.flatten(3)

def higcin_scores(net, maps, mask):
    x = net.embed(maps, None, mask)
    return net.classify(net.relation(x, some_boxes(x), mask), mask)[0]

def higcin_net(teams):
    "Officially persons come before frames, and scores are for each frame."
    def run(f, mask):
        conf = f.arguments['model_confs']
        T,N = conf['num_frames']['test'],conf['num_players']
        maps = f.map.unflatten(1, (N, T)).transpose(1, 2)
        net = make_higcin(Crops(maps.shape[3]), body=True, teams=teams).double().eval()
        load_higcin(net.body, f.w('backbone.BIM.'))
        load_higcin(net.relation.block, f.w('PIM.'))
        net.activity.linear.load_state_dict(f.w('activity_classifier.0.'))
        net.action = net.action.__class__(net.d, conf['num_actions']).double()
        net.action.load_state_dict(f.w('action_classifier.'))
        x = net.embed(maps, None, mask)
        y = net.relation(x, some_boxes(x), mask)
        frames = None if mask is None else mask.repeat_interleave(T, 0)
        each = y.flatten(0, 1)[:, None]                                     # every frame as a clip
        activities,actions = net.classify(each, frames)
        return dict(activities=activities, actions=actions.flatten(0, 1))
    return run

def higcin_din_net(f, mask):
    cfg = f.arguments['cfg']
    maps = f.roi.unflatten(0, (-1, cfg['num_frames'], cfg['num_boxes']))
    net = make_higcin(Crops(maps.shape[3]), body=True, form='benchmark').double().eval()
    load_higcin(net.body, f.w('BIM.'))
    load_higcin(net.relation.block, f.w('PIM.'))
    f.load(fc_activities=net.activity.linear)
    return dict(activities=higcin_scores(net, maps, mask))


# File -> (Golden, mask) -> outputs by name
CASES = {
    'din-module': din_module(),
    'din-gradient-at-init': din_gradient,
    'din-walk-only': din_module(mode='walk'),
    'din-static-intended': din_module(mode='weights'),
    'din-parallel-inference-intended': din_module(mode='sum'),
    'din-two-ratios': din_module(ratios=(1, 2), beta=True),
    'din-parallel-fields': din_module(fields='parallel'),
    'din-hierarchical-intended': din_hierarchical,
    'din-net-vgg16': din_net(),
    'din-net-res18': din_net(residual='outside'),
    'din-lite-net-vgg16': din_net(),
    'din-lite-net-res18': din_net(residual='outside'),
    'din-net-collective-intended': din_net('DPI.', layer_norm='actor'),
    'din-lite-net-collective-intended': din_net('DPI.', layer_norm='actor'),
    'higcin-block': higcin_block(),
    'higcin-block-spatial': higcin_block('spatial'),
    'higcin-block-all': higcin_block('all'),
    'higcin-net': higcin_net(teams=2),
    'higcin-net-one-group': higcin_net(teams=1),
    'higcin-din-block': higcin_din_block,
    'higcin-din-net': higcin_din_net,
}

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    for path in FILES[name]: compare(CASES[name], path, masked)
