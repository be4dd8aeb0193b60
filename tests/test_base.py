"Crops against the sampling of ARG's compiled extension, written with grid_sample; backbones by name."
import pytest, torch
import torch.nn.functional as F
from aclip.models.backbone import Backbone, crop_actors

def sampled(maps, boxes, K):
    "One bilinear sample at the centre of each of KxK bins, half a cell taken off."
    M,N = boxes.shape[:2]
    h,w = maps.shape[-2:]
    at = (torch.arange(K) + .5)/K
    x = (boxes[..., 0, None] + at*(boxes[..., 2] - boxes[..., 0])[..., None])*w - .5      # (M, N, K)
    y = (boxes[..., 1, None] + at*(boxes[..., 3] - boxes[..., 1])[..., None])*h - .5
    grid = torch.stack([(2*x/(w-1) - 1)[..., None, :].expand(M, N, K, K), (2*y/(h-1) - 1)[..., None].expand(M, N, K, K)], -1)
    return F.grid_sample(maps, grid.flatten(1, 2), align_corners=True, padding_mode='border').view(M, -1, N, K, K).transpose(1, 2).flatten(2)

@pytest.mark.parametrize('size', (1, 3, 5, 7))
@pytest.mark.parametrize('h,w', [(9, 16), (87, 157)])
def test_crops_are_args(size, h, w):
    torch.manual_seed(0)
    maps,c = torch.randn(2, 6, h, w),torch.rand(2, 7, 2)*.6 + .2
    boxes = torch.cat([c - .12, c + .12], -1)
    torch.testing.assert_close(crop_actors(maps, boxes, size), sampled(maps, boxes, size), rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize('name,channels', [('inception_v3', 1056), ('vgg16', 512), ('vgg19', 512), ('resnet18', 512), ('hrnet_w32', 1024), ('test_resnet', 96)])
def test_backbones_by_name(name, channels):
    b = Backbone(name, pretrained=False).eval()
    with torch.no_grad(): maps = b(torch.randint(256, (1, 3, 96, 128), dtype=torch.uint8))
    assert maps.shape[1] == b.channels == channels
