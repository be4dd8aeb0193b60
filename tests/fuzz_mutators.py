"Changes that suit many kinds of input: bytes, lines and fields of text, trees of JSON, tensors."
import json
from pathlib import Path

from fuzz import Mutation

NUMBERS = 'x', 'nan', 'inf', '-inf', '1_000', '１２', '0x1F', '--5', '1e400', '1;5', '5%'
WHOLE = *NUMBERS, '1.5', '-7'
DEEP = '['*100_000 + ']'*100_000


def on(path, function):
    "A change of one file's bytes."
    def change(folder):
        file = folder/path
        file.write_bytes(function(file.read_bytes()))
    return change


def replace_bytes(path, content): return on(path, lambda old: content)


def whole_file(path, empty='wrong', text=True):
    "The file is empty, missing, renamed, a folder, or something else."
    def mutate(name, expect, change): return Mutation(f'{path}: {name}', expect, change)
    yield mutate('empty', empty, replace_bytes(path, b''))
    yield mutate('missing', empty, lambda folder: (folder/path).unlink())
    yield mutate('renamed', empty,
                 lambda folder: (folder/path).rename((folder/path).with_suffix('.bak')))
    def directory(folder):
        (folder/path).unlink()
        (folder/path).mkdir()
    yield mutate('a folder', 'wrong', directory)
    yield mutate('zeros', 'wrong', on(path, lambda old: bytes(len(old))))
    yield mutate('an image', 'wrong', replace_bytes(path, b'\x89PNG\r\n\x1a\n' + bytes(range(256))))
    yield mutate('a page of HTML', 'wrong', replace_bytes(path, b'<!DOCTYPE html><html>404</html>'))
    if text: yield mutate('blank lines', empty, replace_bytes(path, b'\n \n\n'))


def encodings(path):
    "The same text in other encodings, with other ends of lines, and with bytes that are no text."
    def written(encoding): return on(path, lambda old: old.decode().encode(encoding))
    def mutate(name, expect, change): return Mutation(f'{path}: {name}', expect, change)
    for encoding in ('utf-8-sig', 'utf-16'): yield mutate(encoding, 'harmless', written(encoding))
    yield mutate('utf-32', 'noticed', written('utf-32'))
    yield mutate('CRLF', 'harmless', on(path, lambda old: old.replace(b'\n', b'\r\n')))
    yield mutate('no end of line', 'harmless', on(path, bytes.rstrip))
    yield mutate('blank lines at the end', 'harmless', on(path, lambda old: old + b'\n\n \n'))
    yield mutate('EBCDIC', 'wrong', on(path, lambda old: old.decode().encode('cp500')))


def flips(path, rng, n, expect, reason=''):
    "One byte with another bit."
    def flip(at, bit):
        def change(old):
            i = int(at*len(old))
            return old[:i] + bytes([old[i] ^ (1 << bit)]) + old[i+1:]
        return change
    for _ in range(n):
        at = rng.random()
        bit = rng.randrange(8)
        yield Mutation(f'{path}: bit {bit} at {at:.4f} flipped', expect, on(path, flip(at, bit)),
                       reason=reason)


def cuts(path, rng, n, expect, reason=''):
    "The file ends early."
    for _ in range(n):
        at = rng.random()
        yield Mutation(f'{path}: cut at {at:.4f}', expect,
                       on(path, lambda old, at=at: old[:int(at*len(old))]), reason=reason)


def edit_lines(path, function):
    "A change of the list of a text's lines."
    def change(old):
        lines = old.decode().splitlines()
        return ('\n'.join(function(lines)) + '\n').encode()
    return on(path, change)


def set_word(path, line, word, value):
    "One word of one line has another value."
    def change(lines):
        words = lines[line].split()
        words[word] = value
        return [*lines[:line], ' '.join(w for w in words if w), *lines[line+1:]]
    return edit_lines(path, change)


def fields(path, rng, spec, places, repeat=2):
    "Bad values in the fields of a text; `spec`: name, values; `places`: name -> (line, word)."
    for name, values in spec.items():
        for value in values:
            for line, word in rng.sample(places[name], min(repeat, len(places[name]))):
                yield Mutation(f'{path}:{line+1}, word {word+1}: {name} is {value!r}', 'wrong',
                               set_word(path, line, word, value), place=f'{Path(path).name}')


# Trees of JSON

ANYTHING = None, [], {}, '', 'x', -1, 0, 1.5, True, float('nan'), float('inf'), 10**30, [[]], '１'


def nodes(tree, path=()):
    "Every place inside a tree of JSON."
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)) and value: yield from nodes(value, (*path, key))


def parent(tree, path):
    "The table or list that holds a place."
    for key in path[:-1]: tree = tree[key]
    return tree


def value_at(tree, path): return parent(tree, path)[path[-1]]


def edit_json(path, function):
    "A change of a JSON file's content; a function that returns something replaces it."
    def change(old):
        tree = json.loads(old)
        new = function(tree)
        return json.dumps(tree if new is None else new, indent=1).encode()
    return on(path, change)


def set_node(path, node, value):
    def change(tree): parent(tree, node)[node[-1]] = value
    return edit_json(path, change)


def altered(value, rng):
    "Another value of the same type."
    if isinstance(value, bool): return not value
    if isinstance(value, int): return value + rng.choice((-1, 1, 7))
    if isinstance(value, float): return value*rng.choice((.5, 2)) + .01
    if isinstance(value, str): return value + 'a'
    if isinstance(value, list): return value[::-1] if value != value[::-1] else value + [0]
    return {**value, 'more': 1} if isinstance(value, dict) else 1


def json_trees(path, tree, rng, n, expect='wrong', change=edit_json):
    "Entries that are missing, of another type, or altered."
    every = list(nodes(tree))
    def mutate(name, function): return Mutation(f'{path}: {name}', expect, change(path, function))
    for node in (every if len(every) <= n//3 else rng.sample(every, n//3)):
        name = '.'.join(map(str, node))
        old = value_at(tree, node)
        bad = rng.choice([v for v in ANYTHING if repr(v) != repr(old)])
        other = altered(old, rng)
        def remove(t, node=node): del parent(t, node)[node[-1]]
        def put(value):
            def function(t, node=node): parent(t, node)[node[-1]] = value
            return function
        yield mutate(f'{name} is missing', remove)
        yield mutate(f'{name} is {bad!r}', put(bad))
        yield mutate(f'{name} is {str(other)[:40]!r} instead of {str(old)[:40]!r}', put(other))


def json_files(path, rng, expect='wrong'):
    "A JSON file that is no JSON, or of another shape."
    for name, content in {
            'a list': '[]', 'a number': '7', 'null': 'null', 'a word': '"x"', 'no JSON': '{a: 1}',
            'one bracket': '{', 'NaN': 'NaN', '100000 brackets': DEEP,
            'brackets in an entry': '{"version": ' + DEEP + '}', 'an empty table': '{}',
            'a number of 10000 digits': '{"version": ' + '9'*10_000 + '}'}.items():
        yield Mutation(f'{path}: {name}', expect, replace_bytes(path, content.encode()))
    yield Mutation(f'{path}: written with other spaces', 'harmless',
                   on(path, lambda old: json.dumps(json.loads(old), indent=3).encode()))
    def doubled(old):
        key = next(iter(json.loads(old)))
        return old.rstrip()[:-1] + f', "{key}": 12345}}'.encode()
    yield Mutation(f'{path}: an entry twice', expect, on(path, doubled))
