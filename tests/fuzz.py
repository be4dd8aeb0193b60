"""A seeded campaign of mutated inputs: what the package does with each, counted in a table.

`python tests/fuzz.py --out FILE.json` runs every mutation of every kind of input (minutes).
`--kinds WORD ...` takes the kinds whose names hold a word, `--sample N` draws N mutations,
`--show` prints the bad outcomes. Each mutation knows what a checker could know of it:

wrong        must be an error
noticed      must be an error, a warning, or without effect on the result
suspicious   must be an error or a warning
harmless     must give the same result
undecidable  nobody can know; it must end without a traceback, and the reason is counted
"""
import argparse
import json
import os
import random
import re
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, is_dataclass
from datetime import date
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable

import numpy as np
import torch
from aclip.files import commit_id, machine_info, sealed, write_json

GOOD = 'clear error', 'equal', 'warned', 'undecidable'
BAD = 'vague error', 'traceback', 'silent', 'refused', 'hang', 'executed'
MEMORY = 3 << 30                # bytes that it may add
CURE = re.compile(r'\b(expected|give|choose|correct|copy|delete|use|make|leave|train|remove|build|'
                  r'rename|there (is|are|was)|takes|extract|check|try|see|install|start|invalid|'
                  r'required|put|free|enlarge|unrecognized|save|number|'
                  r'convert|run again|begin|it has|change)\b', re.I)


@dataclass
class Mutation:
    "One change of a valid input."
    name: str                   # what is changed
    expect: str                 # wrong, noticed, suspicious, harmless, undecidable
    change: Callable            # called with the folder of the input; may return other arguments
    place: str = ''             # what a clear error names; empty: as the kind says
    reason: str = ''            # of undecidable: why nobody can know


@dataclass
class Kind:
    "A kind of input: a valid one, what a user calls with it, and how it can be changed."
    name: str
    seed: Callable              # writes the valid input into an empty folder
    read: Callable              # (folder, what a mutation returned) -> the result
    mutations: Callable         # (folder of the valid input, random source) -> `Mutation`s
    place: str = ''             # what a clear error names
    close: float = 0.           # largest difference between numbers of equal results
    seconds: float = 20         # the longest that a mutation may take


class Refused(ValueError):
    "A command ended with a message."
    __module__ = 'aclip'


def plain(x, folder):
    "A result as text and bytes that can be compared, without the folder's own path."
    if isinstance(x, torch.Tensor): x = x.detach().numpy()
    if isinstance(x, np.ndarray): return [str(x.dtype), x.shape, x.tobytes().hex()]
    if is_dataclass(x): return plain(vars(x), folder)
    if isinstance(x, dict): return {str(k): plain(v, folder) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [plain(v, folder) for v in x]
    return re.sub(r'0x[0-9a-f]+', '', str(x).replace(str(folder), ''))


def digest(result, folder):
    "A hash of a result."
    return sha256(json.dumps(plain(result, folder)).encode()).hexdigest()


def own_error(e):
    "Did the package itself raise this error?"
    if type(e).__module__.split('.')[0] == 'aclip': return True
    last = traceback.extract_tb(e.__traceback__)[-1]
    raised = re.search(r'\braise\b', last.line or '') is not None
    return isinstance(e, (ValueError, OSError)) and '/aclip/' in last.filename and raised


def changed(kind, mutation, folder):
    "Apply a mutation; its other arguments for the reader, if there are any."
    try: given = mutation.change(folder)
    except Exception as e: raise RuntimeError(f'{kind.name}, {mutation.name}: {e!r}') from e
    return given if isinstance(given, (dict, tuple)) else None


def observe(kind, mutation, folder):
    "What happens when a user reads the changed input."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        given = changed(kind, mutation, folder) if mutation else None
        try: seen = dict(result=kind.read(folder, given))
        except BaseException as e:
            frames = [f'{Path(f.filename).name}:{f.lineno}'
                      for f in traceback.extract_tb(e.__traceback__)[-3:]]
            message = str(e).replace(str(folder), '')
            seen = dict(error=type(e).__name__, message=message, own=own_error(e), at=frames)
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    return dict(seen, warnings=[s.replace(str(folder), '') for s in said])


def names(message, place):
    "Does a message name the place? Alternatives stand between bars."
    return any(word in message for word in place.split('|'))


def is_clear(message, place):
    "Does a message name the place and a way out, in a line or two?"
    return names(message, place) and bool(CURE.search(message)) and message.count('\n') < 2


def same(a, b, kind, folder, reference_folder):
    "Are two results equal?"
    if not kind.close: return digest(a, folder) == digest(b, reference_folder)
    return a.shape == b.shape and (a.float() - b.float()).abs().max() <= kind.close


def judge(kind, mutation, seen, equal):
    "The outcome of a mutation: one of `GOOD` or `BAD`."
    place = mutation.place or kind.place
    if 'error' in seen:
        if not seen['own']: return 'traceback'
        if not is_clear(seen['message'], place): return 'vague error'
        return 'refused' if mutation.expect == 'harmless' else 'clear error'
    if mutation.expect == 'undecidable': return 'undecidable'
    if mutation.expect in ('harmless', 'noticed') and equal: return 'equal'
    if mutation.expect == 'wrong': return 'silent'
    return 'warned' if any(names(w, place) for w in seen['warnings']) else 'silent'


def run_one(kind, mutation, seed, reference):
    "Copy the valid input, change it, read it, judge."
    with TemporaryDirectory(prefix='fuzz-') as place:
        folder = Path(shutil.copytree(seed, Path(place)/'input', symlinks=True,
                                      ignore=shutil.ignore_patterns('used')))
        os.chdir(folder)
        start = time.time()
        seen = observe(kind, mutation, folder)
        equal = 'result' in seen and same(seen['result'], reference, kind, folder, seed)
        executed = (folder/'executed').exists()
        os.chdir(seed)
    outcome = 'executed' if executed else judge(kind, mutation, seen, equal)
    seen.pop('result', None)
    return dict(kind=kind.name, name=mutation.name, expect=mutation.expect, outcome=outcome,
                reason=mutation.reason, seconds=round(time.time() - start, 3), **seen)


def limit_memory():
    "A worker may not take much more memory than it has."
    pages = int(Path('/proc/self/statm').read_text().split()[0]) if Path('/proc').is_dir() else 0
    if pages: resource.setrlimit(resource.RLIMIT_AS, (pages*resource.getpagesize() + MEMORY,)*2)


def work(kind, mutations, seed, reference, pipe):
    "The child process: one outcome after the other."
    limit_memory()
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2): os.dup2(null, stream)
    try:
        for mutation in mutations: pipe.send(run_one(kind, mutation, seed, reference))
    except RuntimeError as e: pipe.send(e)


def lost(kind, mutation):
    "The outcome of a mutation whose process hangs or died."
    return dict(kind=kind.name, name=mutation.name, expect=mutation.expect, outcome='hang',
                reason=mutation.reason, seconds=kind.seconds, warnings=[])


def run_mutations(kind, mutations, seed, reference):
    "Outcomes of mutations, from child processes that may hang or die."
    done = []
    while len(done) < len(mutations):
        here, there = get_context('fork').Pipe(duplex=False)
        rest = mutations[len(done):]
        child = get_context('fork').Process(target=work, args=(kind, rest, seed, reference, there))
        child.start()
        there.close()
        try:
            while len(done) < len(mutations) and here.poll(kind.seconds):
                done.append(received := here.recv())
                if isinstance(received, Exception): raise received
        except EOFError: pass
        if len(done) < len(mutations): done.append(lost(kind, mutations[len(done)]))
        child.kill()
        child.join()
    return done


def fresh(kind, folder):
    "The valid input in a new folder, and its result."
    folder = folder/re.sub(r'\W+', '-', kind.name)
    folder.mkdir()
    kind.seed(folder)
    seen = observe(kind, None, folder)
    if 'error' in seen: raise RuntimeError(f'{kind.name}: the valid input is refused: {seen}')
    return folder, seen['result']


def campaign(kinds, seed=0, sample=None, report=lambda line: None):
    "Outcomes of all mutations of all kinds, or of a sample spread over the kinds."
    outcomes = []
    with TemporaryDirectory(prefix='fuzz-') as place:
        for kind in kinds:
            rng = random.Random(f'{seed} {kind.name}')
            start = time.time()
            folder, reference = fresh(kind, Path(place))
            mutations = list(kind.mutations(folder, rng))
            if sample: mutations = rng.sample(mutations, min(len(mutations), sample//len(kinds)))
            outcomes += (found := run_mutations(kind, mutations, folder, reference))
            report(f'{kind.name}: {len(found)} in {time.time() - start:.0f} s '
                   f'{dict(Counter(o["outcome"] for o in found))}')
    return outcomes


def table(outcomes):
    "Kind -> outcome -> count."
    counts = {}
    for o in outcomes: counts.setdefault(o['kind'], Counter())[o['outcome']] += 1
    return {kind: {k: c[k] for k in GOOD + BAD if c[k]} for kind, c in counts.items()}


def summary(outcomes, seed, seconds):
    "What is committed: counts, what nobody can know, bad outcomes, machine and commit."
    unknown = {}
    for o in outcomes:
        if o['expect'] != 'undecidable': continue
        reason = unknown.setdefault(o['kind'], {}).setdefault(o['reason'], Counter())
        reason[o['outcome']] += 1
    bad = [{k: o.get(k) for k in ('kind', 'name', 'expect', 'outcome', 'error', 'message')}
           for o in outcomes if o['outcome'] in BAD]
    return dict(version=1, seed=seed, date=str(date.today()), commit=commit_id(),
                machine=machine_info(), mutations=len(outcomes), seconds=round(seconds),
                slowest=max(o['seconds'] for o in outcomes), outcomes=table(outcomes),
                undecidable=unknown, bad=bad)


def text(outcomes):
    "The table for people."
    rows = table(outcomes)
    used = [o for o in GOOD + BAD if any(o in r for r in rows.values())]
    width = max(map(len, rows))
    lines = [' '*width + ' '.join(f'{o:>11s}' for o in used)]
    total = Counter()
    for kind, r in rows.items():
        lines.append(f'{kind:{width}s}' + ' '.join(f'{r.get(o, 0):11d}' for o in used))
        total.update(r)
    lines.append(f'{len(outcomes):<{width}d}' + ' '.join(f'{total[o]:11d}' for o in used))
    return '\n'.join(lines)


def shown(o):
    "A bad outcome in a line."
    said = f" [{o['error']} {' '.join(o['at'])}] {o['message'][:200]}" if 'error' in o else ''
    return f"{o['outcome']:11s} {o['kind']}: {o['name']} ({o['expect']}){said}"


def all_kinds():
    "Every kind of input."
    from fuzz_data import KINDS as data
    from fuzz_files import KINDS as files
    from fuzz_settings import KINDS as settings
    return [*data, *files, *settings]


def main(argv=None):
    "Run the campaign."
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--out', type=Path, help='JSON file for the table')
    p.add_argument('--kinds', nargs='*', default=[''], help='words in the names of kinds')
    p.add_argument('--sample', type=int, help='number of mutations; default: all')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--show', action='store_true', help='print every bad outcome')
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    kinds = [k for k in all_kinds() if any(w in k.name for w in args.kinds)]
    # in a sample, no kind that starts a process for each mutation
    if args.sample: kinds = [k for k in kinds if k.seconds < 60]
    start = time.time()
    commit_id() # kept for the record: the checkout may change during the campaign
    outcomes = campaign(kinds, args.seed, args.sample, lambda line: print(line, file=sys.stderr))
    seconds = time.time() - start
    print(text(outcomes))
    bad = [o for o in outcomes if o['outcome'] in BAD]
    if args.show: print('\n'.join(map(shown, bad)))
    if args.out: write_json(args.out, sealed(summary(outcomes, args.seed, seconds)))
    return int(bool(bad))


if __name__ == '__main__':
    sys.modules['fuzz'] = sys.modules['__main__']
    sys.exit(main())
