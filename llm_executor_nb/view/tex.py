r"""TeX in a model's answer: formulas may be typeset, and may do nothing else.

MathJax and KaTeX obey every command they know. Some commands style, fetch, cover the page, or redefine a command for
all other cells (`\unicode[css]`, `\mmlToken`, `\hspace`, `\def`, `\let`). The commands below draw signs where they
stand. A formula with any other one is no formula: all its commands are shown as text, with a sign in place of the
backslash. That holds outside formulas too, because renderers differ in what they take for one.
"""

from __future__ import annotations

import html
import re
from itertools import accumulate

_BACKSLASH = "\u2216"
"""Looks like a backslash and begins no command."""
_SIGNS = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi omicron pi varpi
rho varrho sigma varsigma tau upsilon phi varphi chi psi omega digamma Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi
Psi Omega aleph beth gimel daleth hbar hslash imath jmath ell wp Re Im partial nabla infty prime backprime emptyset
varnothing complement forall exists nexists neg lnot top bot angle measuredangle sphericalangle surd flat natural sharp
clubsuit diamondsuit heartsuit spadesuit square Box Diamond blacksquare bigstar checkmark degree pounds yen S P dagger
ddagger copyright circledR eth mho Bbbk
pm mp times div cdot ast star circ bullet cap cup uplus sqcap sqcup vee wedge lor land setminus smallsetminus wr amalg
oplus ominus otimes oslash odot boxplus boxminus boxtimes boxdot ltimes rtimes lhd rhd unlhd unrhd bigtriangleup
bigtriangledown triangleleft triangleright triangle
le leq leqslant leqq ge geq geqslant geqq ne neq lt gt ll lll gg ggg lesssim gtrsim lessgtr prec succ preceq succeq sim
simeq approx approxeq cong equiv propto varpropto asymp doteq doteqdot triangleq coloneqq eqqcolon subset supset
subseteq supseteq subsetneq supsetneq nsubseteq nsupseteq sqsubset sqsupset sqsubseteq sqsupseteq in ni notin owns mid
nmid parallel nparallel perp vdash dashv models vDash Vdash bowtie smile frown between because therefore not nleq ngeq
nless ngtr nsim ncong
to gets leftarrow rightarrow leftrightarrow Leftarrow Rightarrow Leftrightarrow longleftarrow longrightarrow
longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow iff implies impliedby mapsto longmapsto uparrow
downarrow updownarrow Uparrow Downarrow Updownarrow nearrow searrow swarrow nwarrow hookleftarrow hookrightarrow
leftharpoonup leftharpoondown rightharpoonup rightharpoondown rightleftharpoons leftrightharpoons leadsto
rightsquigarrow twoheadrightarrow twoheadleftarrow rightrightarrows nrightarrow nleftarrow nRightarrow circlearrowleft
circlearrowright curvearrowleft curvearrowright xrightarrow xleftarrow
sum prod coprod int iint iiint oint bigcap bigcup bigsqcup biguplus bigvee bigwedge bigoplus bigotimes bigodot
arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf injlim ker lg lim liminf limsup ln log max
min Pr projlim sec sin sinh sup tan tanh bmod pmod mod pod
ldots cdots vdots ddots dots dotsb dotsc dotsi dotsm dotso
"""
_FORMS = """
frac dfrac tfrac cfrac binom dbinom tbinom over atop choose sqrt root of overline underline overbrace underbrace
overset underset stackrel substack overrightarrow overleftarrow overleftrightarrow widehat widetilde hat check breve
acute grave tilde bar vec dot ddot dddot mathring boxed phantom hphantom vphantom limits nolimits displaylimits
left right middle big Big bigg Bigg bigl bigr bigm Bigl Bigr Bigm biggl biggr biggm Biggl Biggr Biggm
lbrace rbrace lbrack rbrack langle rangle lvert rvert lVert rVert vert Vert lfloor rfloor lceil rceil ulcorner urcorner
llcorner lrcorner backslash quad qquad enspace thinspace
text textrm textbf textit texttt textsf textnormal mbox mathrm mathbf mathit mathsf mathtt mathbb mathcal mathscr
mathfrak mathnormal boldsymbol bold pmb bf rm it sf tt cal operatorname mathop mathbin mathrel mathord mathopen
mathclose mathpunct mathinner displaystyle textstyle scriptstyle scriptscriptstyle hline cr notag nonumber tag
bra ket braket ce
"""
_COMMANDS = frozenset((_SIGNS + _FORMS).split())
_ARRAYS = """
matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix cases rcases array aligned alignedat gathered split subarray
"""
_ENVIRONMENTS = frozenset(_ARRAYS.split())
_NUMBERED = frozenset(("equation", "align", "alignat", "gather", "multline", "flalign", "eqnarray"))
"""These count through the whole page, so an answer would change the numbers of other cells; with a star they do not."""
_PART = re.compile(
    r"\\(?:begin|end)\s{0,9}\{([A-Za-z]+)\*?\}"
    r"|\\\\\*?\[\s{0,9}[-+]?[\d.,]{1,20}\s{0,9}[a-z]{2}\s{0,9}\]"
    r"|\\\\(?=[^\s()\[\]])"
    r"|\\([A-Za-z]+|@)|\^\^"
)
_DOLLARS = re.compile(r"(\$+)")
_DELIMITER = re.compile(r"\\?\$\$+|\\\\\*?[(\[]|\\\\[)\]]|\\(?:begin|end)\{[A-Za-z]+\*?\}")
_ENTITY = re.compile(r"&([#A-Za-z0-9]+;?)")
_LONGEST_ENTITY = 40
_BACKWARDS = r"\!"
"""A space to the left. Thousands of them would carry what follows over the rest of the page."""
_MOST_BACKWARDS = 20
_NESTING = re.compile(r"\\\\|\\[{}]|([{]|\\left(?![A-Za-z])|\\begin)|([}]|\\right(?![A-Za-z])|\\end)")
_DEEPEST = 20
"""Levels of the deepest formula that is typeset. Three hundred end the browser's tab."""
_PLAIN = {ord("\\"): _BACKSLASH, ord("$"): "\uff04"}
"""Without these two characters no formula begins."""


def harmless_tex(text: str) -> str:
    """Return a paragraph in which no renderer finds a command of TeX that is not on the list above."""
    if _depth(text) > _DEEPEST:
        return _ENTITY.sub(_entity, text).translate(_PLAIN)
    text = "".join(map(_formula, _DOLLARS.split(_ENTITY.sub(_entity, text))))
    if text.count(_BACKWARDS) > _MOST_BACKWARDS:
        text = text.replace(_BACKWARDS, r"\,")
    return text if _is_balanced(text) else _DELIMITER.sub(_undelimited, text)


def _depth(text: str) -> int:
    """Return how deep the groups of a paragraph are nested."""
    steps = (bool(one[1]) - bool(one[2]) for one in _NESTING.finditer(text))
    return max(accumulate(steps, lambda depth, step: max(0, depth + step)), default=0)


def _formula(text: str) -> str:
    """Check the commands of what stands between two dollars, be it a formula or prose."""
    return _PART.sub(_kept if all(map(_is_known, _PART.finditer(text))) else _shown, text)


def _is_known(match: re.Match[str]) -> bool:
    command, environment = match[2], match[1]
    if environment is not None:
        return environment in _ENVIRONMENTS or environment in _NUMBERED
    return command is None or command in _COMMANDS


def _kept(match: re.Match[str]) -> str:
    text, environment = match[0], match[1]
    if environment is not None:
        return text[: text.index("{")].rstrip() + f"{{{environment}{'*' * (environment in _NUMBERED)}}}"
    if text.startswith("\\\\"):
        # a line break; without the blank a renderer that halves backslashes would find a command behind it
        return "\\\\ "
    return "^ ^" if text == "^^" else text  # TeX itself reads ^^5c as a backslash


def _shown(match: re.Match[str]) -> str:
    is_command = match[1] is not None or match[2] is not None
    return _BACKSLASH + match[0][1:] if is_command else _kept(match)


def _is_balanced(text: str) -> bool:
    """Whether every formula ends where it began; a renderer would look for another end in the code that follows."""
    stack: list[str] = []
    for delimiter in _DELIMITER.findall(text):
        if stack and delimiter == stack[-1]:
            stack.pop()
        elif (end := _end_of(delimiter)) and (delimiter.startswith("\\begin") or not stack):
            stack.append(end)
        else:
            return False
    return not stack


def _end_of(delimiter: str) -> str:
    """Return what ends a formula or an environment; empty: the delimiter begins none."""
    if delimiter.startswith("\\begin"):
        return "\\end" + delimiter.removeprefix("\\begin")
    return {"$$": "$$", "\\\\(": "\\\\)", "\\\\[": "\\\\]"}.get(delimiter, "")


def _undelimited(match: re.Match[str]) -> str:
    text = match[0]
    if "$" in text:
        return text.replace("$$", "$ $").replace("$$", "$ $")
    return text.replace("\\\\", _BACKSLASH).replace("\\", _BACKSLASH)


def _entity(match: re.Match[str]) -> str:
    # a page has the character itself, which then begins a formula or a command
    is_harmless = len(match[0]) <= _LONGEST_ENTITY and not set(html.unescape(match[0])) & {"\\", "$"}
    return match[0] if is_harmless else "&amp;" + match[1]
