"The method and the registry of base models load torch and nothing heavier."
import subprocess, sys
import pytest

HEAVY = ('timm', 'torchvision', 'fastai', 'open_clip', 'matplotlib', 'scipy', 'PIL')

@pytest.mark.parametrize('module', ('aclip.core', 'aclip.layers', 'aclip.models.arg', 'aclip.models.backbone', 'aclip.models.registry'))
def test_import_is_light(module):
    code = f'import sys, {module}; print(*(m for m in {HEAVY} if m in sys.modules))'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert not run.stdout.strip(), f'import {module} loads {run.stdout.strip()}; import it inside the functions that use it'
