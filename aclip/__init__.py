"ActivityCLIP: group activity recognition where the text of action labels supplements the image."
import sys
import warnings

__version__ = "0.1.0"

# fastai's layers call torch.jit.script when they are imported, and torch answers with this warning.
warnings.filterwarnings('ignore', r'`torch\.jit\.script` is deprecated', FutureWarning,
                        r'torch\.jit\._script')

# For one release: the modules of 0.1.0 that are elsewhere now, and where their contents are.
MOVED = {
    'aformer': 'models.aformer models.fusion',
    'arg': 'models.arg',
    'base': 'models.backbone models.base',
    'bench': 'evidence.bench',
    'boxes': 'models.boxes data.augment',
    'clip': 'text.clip text.bank',
    'commands': 'train.run train.steps train.recipes train.features evaluate.evaluation evaluate.predict '
                'evaluate.label_errors',
    'demo': 'evidence.demo evidence.demo_report',
    'distill': 'text.distill',
    'dualai': 'models.dualai models.dualai_losses',
    'experiments': 'evidence.experiments evidence.tables evidence.setups evidence.results evidence.summary',
    'features': 'train.frozen',
    'i3d': 'models.i3d',
    'image2text': 'text.image2text',
    'learner': 'train.learner train.losses train.callbacks evaluate.scores',
    'lora': 'text.lora evaluate.one_pass',
    'parallel': 'train.parallel',
    'params': 'evidence.params',
    'report': 'evidence.report',
    'store': 'train.store train.extract',
    'tiny_clip': 'text.tiny_clip text.teachers',
    'visual': 'evaluate.visual',
}

class MovedModules:
    "First in the search for a module, before files that an older version has left: raises for a module of 0.1.0."
    @staticmethod
    def find_spec(name, path=None, target=None):
        package, _, module = name.partition('.')
        if package != 'aclip' or module not in MOVED: return None
        places = ', '.join(f'aclip.{place}' for place in MOVED[module].split())
        # No `name=`: `from aclip import MODULE` would replace the message by one of its own.
        raise ModuleNotFoundError(f"{name} of aclip 0.1.0 is now {places}; import from there")

sys.meta_path.insert(0, MovedModules)
