"""Templates that want to take for ever, to fill the memory, to crash Python, or to get out of the sandbox."""

from __future__ import annotations

from typing import Final

# Doubles a value in each turn.
_DOUBLED: Final = "{%% set ns = namespace(x=%s) %%}{%% for i in range(200) %%}{%% set ns.x = %s %%}{%% endfor %%}%s"
_BEGIN: Final = "{% set ns = namespace(x='aaaa') %}{% for i in range(200) %}"
_MANY: Final = "{% for i in range(100000) %}{% for i in range(100000) %}"
_END: Final = "{% endfor %}{% endfor %}"


def doubled(start: str, step: str, use: str) -> str:
    """Return a template that makes a value larger 200 times, and then uses it."""
    return _DOUBLED % (start, step, use)


def many(statement: str) -> str:
    """Return a template that does the same ten thousand million times."""
    return _MANY + statement + _END


TIME: Final = {
    "empty loops": many(""),
    "loops with a false condition": "{% for i in range(100000) %}{% for i in range(100000) if false %}" + _END,
    "a long body": many("{% set a = 1 %}" * 2000),
    "a long text of short words": "{{ ('a-' * 200000) | title }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "exponential macros": "{% macro m(n) %}{% if n %}{% set a = m(n - 1) %}{% set b = m(n - 1) %}{% endif %}"
    "{% endmacro %}{{ m(50) }}",
    "a recursive loop": "{% for x in [[]] recursive %}{{ loop([x]) }}{% endfor %}",
    "a loop that grows": "{% for x in [1, 2] recursive %}{% if loop.depth < 40 %}{% set a = loop([1, 2]) %}{% endif %}"
    "{% endfor %}",
    "a block in itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "callers": "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{% call m() %}{% endcall %}",
    "a search in a long list": "{% set l = range(30000) | list %}" + many("{% if -1 in l %}{% endif %}"),
    "a search in a long text": "{% set l = 'a' * 100000 %}{% set m = 'a' * 90 ~ 'b' %}"
    + many("{% if m in l %}{% endif %}"),
    "a count in a long text": "{% set l = 'a' * 100000 %}{% set m = 'a' * 90 ~ 'b' %}"
    + many("{% set n = l.count(m) %}"),
    "equal lists": "{% set l = range(30000) | list %}" + many("{% if l == l[:] %}{% endif %}"),
    "sorting": "{% set l = range(30000) | list | reverse | list %}" + many("{% set m = l | sort %}"),
    "sorting by an attribute": "{% set l = range(9000) | list %}" + many("{% set m = l | sort(attribute='a.a.a.a') %}"),
    "filters of filters": "{% set l = range(30000) %}" + many("{% set m = l | map('string') | map('upper') | list %}"),
    "tests": "{% set l = range(30000) %}" + many("{% set m = l | select('odd') | list %}"),
    "sums of lists": "{% set l = range(30000) | batch(1) | list %}{{ l | sum(start=[]) | length }}",
    "stripping": "{% set l = 'a' * 50000 %}" + many("{% set m = l.strip('b' * 900 ~ 'a') %}"),
    "splitting": "{% set l = 'a' * 100000 %}" + many("{% set m = l.split('a') %}"),
    "slices": "{% set l = 'a' * 1000000 %}" + many("{% set m = l[::-1] %}"),
    "JSON": "{% set l = range(30000) | list %}" + many("{% set m = l | tojson %}"),
    "upper case": "{% set l = 'a' * 1000000 %}" + many("{% set m = l.upper() %}"),
    "numbers from text": many("{% set m = ('9' * 100000) | int %}"),
    "the loop as a list": "{% for i in range(100000) %}{% set m = loop | list %}{% endfor %}",
    "arguments": "{% macro m() %}{{ varargs }}{% endmacro %}{% set l = range(30000) | list %}"
    + many("{% set x = m(*l) %}"),
    "the time": many("{% set m = strftime_now('%c' * 100) %}"),
    "a dict of a list": "{% set l = range(30000) | batch(2) | list %}" + many("{% set m = dict(l) %}"),
    "changed": "{% set l = range(30000) | list %}{% for i in range(100000) %}{{ loop.changed(l[:]) }}{% endfor %}",
}
SIZE: Final = {
    "a product": "{{ 'a' * 10 ** 9 }}",
    "a product of constants": "{{ 'a' * 1000000000 }}",
    "a list times": "{{ ([0] * 1000000000) | length }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a power of constants": "{{ 10 ** 1000000000 }}",
    "squares": doubled("3", "ns.x * ns.x", "{{ ns.x }}"),
    "doubling by +": doubled("'aaaa'", "ns.x + ns.x", "{{ ns.x }}"),
    "doubling by ~": doubled("'aaaa'", "ns.x ~ ns.x", "{{ ns.x }}"),
    "doubling lists": doubled("[1]", "ns.x + ns.x", "{{ ns.x | length }}"),
    "doubling by join": doubled("'aaaa'", "[ns.x, ns.x] | join", "{{ ns.x }}"),
    "doubling by join of a method": doubled("'aaaa'", "ns.x.join([ns.x, ns.x])", "{{ ns.x }}"),
    "doubling by replace": doubled("'aaaa'", "ns.x | replace('a', 'aa')", "{{ ns.x }}"),
    "doubling by the method replace": doubled("'aaaa'", "ns.x.replace('a', 'aa')", "{{ ns.x }}"),
    "doubling by format": doubled("'aaaa'", "'{0}{0}'.format(ns.x)", "{{ ns.x }}"),
    "doubling by %": doubled("'aaaa'", "'%s%s' % (ns.x, ns.x)", "{{ ns.x }}"),
    "doubling by names": doubled("'aaaa'", "'%(a)s%(a)s' % {'a': ns.x}", "{{ ns.x }}"),
    "doubling by the filter format": doubled("'aaaa'", "'%s%s' | format(ns.x, ns.x)", "{{ ns.x }}"),
    "doubling by set": _BEGIN + "{% set b %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = b %}{% endfor %}{{ ns.x }}",
    "doubling by a macro": "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}"
    + _BEGIN
    + "{% set ns.x = m(ns.x) %}{% endfor %}{{ ns.x }}",
    "doubling by a filter block": _BEGIN
    + "{% set b %}{% filter upper %}{{ ns.x }}{{ ns.x }}{% endfilter %}{% endset %}{% set ns.x = b %}"
    "{% endfor %}{{ ns.x }}",
    "growing by escapes": doubled("'&' * 9000", "ns.x | forceescape", "{{ ns.x }}"),
    "growing by urlencode": doubled("'%' * 9000", "ns.x | urlencode", "{{ ns.x }}"),
    "doubling by indent": doubled("'a\\nb'", "ns.x | indent(900) | replace(' ', '\\n')", "{{ ns.x }}"),
    "doubling by repr": doubled("'\\\\'", "'{!r}'.format(ns.x)", "{{ ns.x }}"),
    "doubling by tojson": doubled("'\\\\'", "ns.x | tojson", "{{ ns.x }}"),
    "a list of itself, printed": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x }}"),
    "a list of itself, as JSON": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson }}"),
    "a list of itself, as text": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | string | length }}"),
    "a list of itself, joined": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x ~ '' }}"),
    "a list of itself, compared": doubled("[1]", "[ns.x, ns.x]", "{% if ns.x == ns.x[:] %}{% endif %}"),
    "a list of itself, formatted": doubled("[1]", "[ns.x, ns.x]", "{{ '%s' % [ns.x] }}"),
    "a list of itself, an argument": doubled("[1]", "[ns.x, ns.x]", "{{ ''.join(ns.x) }}"),
    "a tuple of itself, as a key": doubled("(1,)", "(ns.x, ns.x)", "{{ {ns.x: 1} | length }}"),
    "a tuple of itself, looked up": doubled("(1,)", "(ns.x, ns.x)", "{{ {}[ns.x] }}"),
    "a tuple of itself, got": doubled("(1,)", "(ns.x, ns.x)", "{{ {}.get(ns.x) }}"),
    "a tuple of itself, unique": doubled("(1,)", "(ns.x, ns.x)", "{{ [ns.x] | unique | list | length }}"),
    "a tuple of itself, in": doubled("(1,)", "(ns.x, ns.x)", "{{ ns.x in {} }}"),
    "a dict of itself": doubled("{}", "{'a': ns.x, 'b': ns.x}", "{{ ns.x }}"),
    "namespaces in each other": doubled("1", "namespace(a=ns.x, b=ns.x)", "{{ ns.x }}"),
    "namespaces in a list": doubled("1", "namespace(a=ns.x, b=ns.x)", "{{ [ns.x] | string }}"),
    "a wide format": "{{ '{:1000000000}'.format(1) }}",
    "a computed width": "{{ '{:{}}'.format(1, 1000000000) }}",
    "a wide %": "{{ '%1000000000d' % 1 }}",
    "a computed width of %": "{{ '%*d' % (1000000000, 1) }}",
    "a remainder of a text": "{{ '%1000000000d' is odd }}",
    "a text divided": "{{ '%1000000000d' is divisibleby 1 }}",
    "format_map": "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "the method center": "{{ 'a'.center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "tabs": "{{ ('\\t' * 1000).expandtabs(1000000) }}",
    "indent": "{{ 'a\\nb' | indent(1000000000) }}",
    "indented JSON": "{{ [1] | tojson(indent=1000000000) }}",
    "separated JSON": "{{ (range(9000) | list) | tojson(separators=('a' * 9000, ':')) }}",
    "batch": "{{ [1] | batch(1000000000, 0) | list | length }}",
    "slice": "{{ [1] | slice(1000000000, 0) | list | length }}",
    "round": "{{ 2.5 | round(1000000000, 'floor') }}",
    "a large range": "{{ range(1000000000) | list | length }}",
    "output": "{% for i in range(100000) %}" + "a" * 10_000 + "{% endfor %}",
    "output of a variable": "{% set a = 'a' * 10000 %}{% for i in range(100000) %}{{ a }}{% endfor %}",
    "lipsum": "{{ lipsum(n=100000) }}",
    "a refusal": doubled("[1]", "[ns.x, ns.x]", "{{ raise_exception(ns.x) }}"),
    "bytes": "{{ (1).to_bytes(1000000000, 'big') | length }}",
    "a separator": "{% set l = range(9000) | list %}{{ l | join('a' * 100000) }}",
}
# Python has no limit of its own for some of these: it would end with a fault of the memory.
DEPTH: Final = {
    "a deep list": doubled("[]", "[ns.x]", "{{ ns.x }}").replace("200", "90000"),
    "a deep tuple as a key": doubled("()", "(ns.x,)", "{{ {ns.x: 1} }}").replace("200", "90000"),
    "a deep tuple compared": doubled("()", "(ns.x,)", "{{ ns.x == ns.x[:] }}").replace("200", "90000"),
    "promises of promises": doubled("[1]", "ns.x | map('string')", "{{ ns.x | list }}").replace("200", "90000"),
    "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "lists": "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "negations": "{{ " + "not " * 5000 + "1 }}",
    "conditions": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "loops in loops": "{% for i in [1] %}" * 500 + "{% endfor %}" * 500,
    "filters in a row": "{{ 1 " + "|abs" * 5000 + " }}",
    "attributes in a row": "{{ a" + ".a" * 9000 + " }}",
    "sums in a row": "{{ 1" + "+1" * 9000 + " }}",
    "a long template": "a" * 100_000,
}
ESCAPES: Final = {
    "the class of a text": "{{ ''.__class__.__mro__ }}",
    "the class by an index": "{{ ''['__class__'] }}",
    "the class by attr": "{{ ''|attr('__class__') }}",
    "the class by map": "{{ ['']|map(attribute='__class__')|list }}",
    "the class by format": "{{ '{0.__class__}'.format('') }}",
    "the class by format_map": "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "the class by an indirect format": "{% set f = '{0.__class__}'.format %}{{ f('') }}",
    "the globals of a function": "{{ strftime_now.__globals__ }}",
    "the globals of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "the environment": "{{ self._TemplateReference__context.environment }}",
    "a cycler's init": "{{ cycler.__init__.__globals__ }}",
    "a joiner's init": "{{ joiner.__init__.__globals__ }}",
    "a namespace's init": "{{ namespace.__init__.__globals__ }}",
    "a namespace with a hidden name": "{{ namespace(__class__=1) }}",
    "a hidden name that is set": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "changes to a list": "{{ messages.append(1) }}",
    "changes to a dict": "{{ messages[0].update({'a': 1}) }}",
    "changes by clear": "{{ messages[0].clear() }}",
    "a file": "{% include '/etc/passwd' %}",
    "a module": "{% import 'os' as os %}",
    "a parent": "{% extends 'a' %}",
    "escapes switched on": "{% autoescape true %}{% endautoescape %}",
    "an unknown filter": "{{ 1 | pprint }}",
    "a random choice": "{{ [1, 2] | random }}",
    "an encoded text": "{{ 'a'.encode() }}",
    "a generator's frame": "{{ (messages | map('upper')).gi_frame }}",
    "the type of an integer": "{{ (1).real.__class__ }}",
}
HOSTILE: Final = {
    f"{kind}: {name}": text
    for kind, templates in (("time", TIME), ("size", SIZE), ("depth", DEPTH), ("escape", ESCAPES))
    for name, text in templates.items()
}
