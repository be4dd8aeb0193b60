"Eq. 4 over sizes, stacked maps, views of a module: against merged weights, and the names that checkpoints rely on."
import pytest
import torch
from torch import nn
from aclip.layers import EncoderBlock, StackedLinear, n_params
from aclip.text.lora import LoRALinear, StackedLoRALinear, lora_adapter, lora_view

def with_update(adapter, seed=0):
    "An adapter whose B is not zero."
    nn.init.normal_(adapter.B, generator=torch.Generator().manual_seed(seed))
    return adapter

@pytest.mark.parametrize('d_in,d_out,r', [(4, 4, 1), (16, 8, 7), (8, 16, 8)])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(), (5,), (2, 3, 12)])
def test_equals_merged_weights(d_in, d_out, r, bias, shape):
    W0 = nn.Linear(d_in, d_out, bias=bias)
    adapter = with_update(LoRALinear(W0, r, alpha=.5))
    x = torch.randn(*shape, d_in)
    merged = W0.weight + .5*adapter.B @ adapter.A.weight
    torch.testing.assert_close(adapter(x), nn.functional.linear(x, merged, W0.bias), rtol=1e-4, atol=1e-5)
    assert n_params(adapter, trainable=True) == r*(d_in + d_out)

@pytest.mark.parametrize('n', [1, 3, 16])
@pytest.mark.parametrize('shape', [(5,), (2, 3, 12)])
def test_stacked_equals_one_by_one(n, shape):
    stack = StackedLinear(n, 6, 4)
    adapter = with_update(lora_adapter(stack, 2, alpha=.5))
    assert type(adapter) is StackedLoRALinear
    x = torch.randn(*shape, 6)
    weights = zip(stack.weight.chunk(n), stack.bias.chunk(n), adapter.A.weight.chunk(n), adapter.B)
    one_by_one = [x @ (W + .5*B @ A).T + b for W, b, A, B in weights]
    torch.testing.assert_close(adapter(x), torch.stack(one_by_one, -2), rtol=1e-4, atol=1e-5)
    assert n_params(adapter, trainable=True) == n*2*(6 + 4)

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('W0', [nn.Linear(6, 4), StackedLinear(3, 6, 4)], ids=['plain', 'stacked'])
def test_takes_the_type_of_the_map(W0, dtype):
    adapter = lora_adapter(W0.to(dtype), 2)
    assert adapter.A.weight.dtype == adapter.B.dtype == dtype
    x = torch.randn(5, 6, dtype=dtype)
    assert torch.equal(adapter(x), W0(x))

def test_names_in_checkpoints():
    "Checkpoints of 0.1.0 have these names and shapes."
    relation = nn.ModuleDict(dict(theta=StackedLinear(3, 6, 4), out=nn.Linear(4, 6)))
    shapes = {name: tuple(t.shape) for name, t in lora_view(relation, 2).state_dict().items()}
    assert shapes == {'theta.W0.weight': (12, 6), 'theta.W0.bias': (12,), 'theta.B': (3, 4, 2), 'theta.A.weight': (6, 6),
                      'out.W0.weight': (6, 4), 'out.W0.bias': (6,), 'out.B': (6, 2), 'out.A.weight': (2, 4)}

@pytest.mark.parametrize('targets,adapted', [((), 5), (('W_q', 'W_k', 'W_v'), 3), (('W_*',), 3), (('0', '3'), 2)])
def test_targets(targets, adapted):
    block = EncoderBlock(8, dropout=0.)
    view = lora_view(block, 2, targets=targets)
    assert sum(isinstance(m, LoRALinear) for m in view.modules()) == adapted
    assert not any(p.requires_grad for p in block.parameters())
    shared = {id(p) for p in block.parameters()}
    assert sum(id(p) in shared for p in view.parameters()) == len(shared)
