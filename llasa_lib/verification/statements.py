"""What texts say in words: a table of (quantity, how it is recomputed, how it is said).

To teach the verifier a new statement, add a row. A word behind ``@`` is short for the words in ``SHORT``: ``@axis``
stands for any way to name an axis. What named groups catch is handed to the recomputation, one of ``judges``, with the
samples of the seconds that the clause is about. A "not" or "no" in front of a match turns the statement round.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from llasa_lib.verification import judges


class Statement(NamedTuple):
    """One row: what is claimed, the recomputation, and the patterns that claim it.

    ``whole`` rows are about the course of the window: their words ("the second half moves more") name parts of it
    that no other claim is about, so they are read first and taken out.
    """

    quantity: str
    judge: Callable
    patterns: tuple[re.Pattern, ...]
    whole: bool = False


_LEVEL = "|".join(sorted(judges.INTENSITIES, key=len, reverse=True))
_COUNT = "[0-9]{1,3}(?:[.][0-9]+)?|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_SENSOR = "(?:(?:acceleration|accelerometer|rotation|gyroscope|gyro|sensor|phone|device)(?:'s)? )?"
_NOUN = "(?:axis|channel|component|direction)"
_AXIS = rf"(?:\b{_NOUN}[ -])?(?<![\w'])(?P<{{}}>[xyz])(?![\w'])(?:[- ]{_NOUN}\b)?"

# Short for words that many patterns share. A group with a name is what the recomputation gets.
SHORT = {
    # channels and axes
    "axis": rf"(?:the )?(?:(?:positive|negative|sensor's|phone's|device's) |[-+])?{_SENSOR}{_AXIS.format('axis')}",
    "other": rf"(?:the )?{_SENSOR}{_AXIS.format('other')}",
    "sensor": "(?:(?P<sensor>rotation|rotational|gyroscope|acceleration|accelerometer) )?",
    "channel": "(?:of|acceleration|accelerometer|rotation|gyroscope|channels?|axis|axes|the|and|both|sensor|,|"
    "[xyz]-axis|[xyz])",
    "end": "(?P<half>end|beginning|start)",
    "along": "(?:about|around|along|on|in|at)",
    "thing": "(?:sensor|phone|device|smartphone|signal|person|wearer|user|it|motion|movement|activity|intensity|"
    "recording)",
    "device": "(?:sensor|phone|device|person|wearer|it)",
    # motion
    "motion": "(?:motion|movement|activity|intensity|variation|signal|shaking|spread)",
    "moving": "(?:motion|movement|activity|shaking|intensity)",
    "turning": "(?:rotation(?:al (?:motion|movement))?|turning|angular (?:motion|movement|velocity)|"
    "gyroscope(?: signal)?)",
    "varies": "(?:var(?:ies|y|ying)|moves?|moving|fluctuat(?:es|ing)|swings?|swinging|chang(?:es|ing))",
    "variation": "(?:variation|variability|variance|spread|standard deviation|fluctuations?|movement|motion|"
    "activity|changes)",
    "level": rf"(?P<level>{_LEVEL})",
    "still": "(?:still|motionless|stationary|at rest|immobile|quiet)",
    # comparisons
    "most": "(?P<most>most|largest|greatest|highest|strongest|least|smallest|lowest|weakest)",
    "more": "(?P<more>more|less|larger|smaller|greater|higher|lower|stronger|weaker|rougher|calmer|quieter|livelier)",
    "times": f"(?P<times>{'|'.join(judges.TIMES)}|[0-9.]{{1,5}} times)",
    "rough": "(?P<most>most|roughest|liveliest|strongest|least|calmest|quietest)",
    # parts of the window
    "half": "(?P<half>first|second|latter|last) half",
    "third": "(?P<third>first|initial|middle|last|final) (?:(?:two|2) seconds|third)",
    "count": f"(?P<n>{_COUNT})",
    "seconds": r"(?:s|secs?|seconds?)\b",
    "when": "(?:at|after|around|near|from|by|about) (?:about |around |roughly |t ?= ?)?",
    # verbs and what stands between them
    "be": "(?:is|are|was|were|be|being|becomes?|became|stays?|stayed|remains?|remained|keeps?|kept|lies|appears?|"
    "seems?|gets?)",
    "very": "(?:(?:now|only|again|rather|fairly|quite|completely|entirely|mostly|perfectly|largely|overall|"
    "@nearly) ){0,2}",
    "nearly": "(?:relatively|nearly|almost|generally|practically|essentially|basically|virtually|roughly)",
    "starts": r"(?P<starts>(?:starts?|begins?) (?:moving|to move)|picks? up|picking up|sets? in|@moving (?:starts|"
    r"begins))",
    "calms": "(?:calms? down|calming down|settles?(?: down)?|stops? moving|@moving (?:stops|ends|ceases))",
    "rises": "(?P<rising>grows?|growing|increas(?:es|ing)|rises?|rising|builds? up|intensif(?:y|ies|ying)|strengthens?|"
    "(?:gets?|becomes?) stronger|picks? up)",
    "falls": "(?P<falling>fades?|fading|decreas(?:es|ing)|declines?|weakens?|diminish(?:es|ing)?|eases|subsides?|drops|"
    "falls|dwindles|dies down|calms? down|(?:gets?|becomes?) weaker)",
    "steady": "(?P<steady>(?:@be|holds) @very(?:steady|constant|consistent|stable|unchanged|even|uniform|the same))",
    "same": "(?:the same|same|constant|stable|steady|unchanged|unchanging|fixed|consistent)",
    "gap": r"(?:(?!\b(?:and|but|while|whereas|with|than|most|no)\b)[^,;:]){0,30}?",
    "words": r"(?:(?!\b(?:and|but|while|whereas|with|than|most|no)\b)[^,;:0-9]){0,30}?",
    "noaxis": r"(?:(?!(?<!\w)[xyz](?!\w))[^;]){0,70}?",  # anything but another axis
}  # fmt: skip


def _row(quantity, judge, *patterns, whole=False):
    filled = []
    for pattern in patterns:
        while "@" in pattern:
            pattern = re.sub(r"@(\w+)", lambda name: SHORT[name[1]], pattern)
        filled.append(re.compile(pattern))
    return Statement(quantity, judge, tuple(filled), whole)


_GROWS = r"\b(?:@motion|(?P<sensor>@turning))(?: (?:level|strength))? (?:\w+ly )?(?:@rises|@falls|@steady)"

STATEMENTS = (
    # --- the course of the window
    _row(
        "trend", judges.half,
        r"\b@more (?:\w+ )?@motion (?:is )?(?:in|during) the @half\b",
        r"\b@more (?:\w+ )?@motion (?:at|towards?) the @end\b(?: than at the (?:end|beginning|start)\b)?",
        r"\bthe @half (?:of the \w+ )?(?:moves|is|varies|shows|has) (?:much |far |clearly )?@more"
        r"(?: @motion| intense| active)?(?: than the (?:first|second|other))?\b",
        whole=True,
    ),
    _row(
        "trend", judges.trend,
        r"\b(?P<steady>(?:both|the two) halves (?:\w+ )?(?:are |is |move |look )?(?:much |very |about )?(?:alike|"
        r"similar|equally|@same))\b",
        _GROWS + r" (?:\w+ly )?(?:towards?|until|by) the (?:very )?end\b",
        whole=True,
    ),
    _row(
        "roughest third", judges.third,
        r"\bthe @third (?:of the \w+ )?(?:moves?|varies|vary|is|are) (?:the )?@rough(?: intense| active)?\b",
        r"\b@rough (?:of the )?@motion (?:is |occurs |happens )?(?:in|during) the @third\b",
        r"\b@motion is @most (?:in|during) the @third\b",
        whole=True,
    ),
    _row(
        "change", judges.change,
        r"\b(?:@starts|@calms) (?:again )?@when@count ?@seconds",
        r"\b(?:at|after|around|from) (?:about |around |roughly )?@count ?@seconds,? (?:on(?:wards)?,? )?(?:the )?"
        r"(?:@thing )?(?:@starts|@calms)\b",
        whole=True,
    ),
    _row(
        "still seconds", judges.still_seconds,
        r"\b(?:@still|rests?|resting|without motion)(?: for| during)? (?P<n>all|[0-9](?:[.][0-9]+)?|one|two|three|four|"
        r"five|six) (?:of (?:the |its |all )?(?:6|six) )?@seconds(?: of (?:the )?(?:6|six)(?: @seconds)?)?",
        r"\b(?P<n>all|[0-9](?:[.][0-9]+)?|one|two|three|four|five|six) (?:of (?:the |its |all )?)?(?:(?:6|six) "
        r")?seconds (?:are |is )?@still\b",
        r"\b(?P<n>never) (?:\w+ )?@still\b",
        whole=True,
    ),
    # --- posture
    _row(
        "gravity axis", judges.gravity_axis,
        r"\bgravity\b@gap\b(?:along|on|onto|upon|in|by|(?:aligned|line|parallel) (?:with|to)|dominates) @axis",
        r"@axis (?:\w+ ){0,2}?(?:carries|carrying|bears|bearing|feels|holds|senses|measures|registers|captures|"
        r"experiences|takes|shows|reflects|aligned with|aligns with|parallel to|dominated by|affected by) "
        r"(?:most of |mainly |mostly )?(?:the )?(?:(?:full )?(?:force|pull|effect|influence|component) of )?gravity\b",
        r"@axis@noaxis\b(?:indicat\w+|due to|because of|reflect\w+|consistent with|suggest\w+|caused by|corresponding "
        r"to|representing|close to|dominated by|contain(?:s|ing)) (?:the )?(?:(?:force|pull|effect|influence|presence|"
        r"acceleration) (?:of|due to) (?:the )?)?(?:earth's )?gravity\b",
        r"@axis (?:\w+ )?(?:is|being) (?:the )?(?:@nearly |mostly )?vertical\b",
        r"\bvertical(?: axis)? (?:is|being) @axis",
        r"\baligned vertically (?:with|along) @axis",
    ),
    _row(
        "gravity share", judges.free_of_gravity,
        r"@axis (?:carries|feels|senses|shows|has|sees) (?:@nearly |hardly )?(?:no|any|little|zero) gravity\b",
    ),
    _row(
        "up", judges.up,
        r"@axis (?:is )?(?:points?|pointing|faces?|facing|directed|oriented|aimed)? ?(?:mostly |mainly |straight |"
        r"@nearly )?(?P<side>up|down|upwards?|downwards?)\b(?! (?:to|and down|or down|and up|or up)\b)",
    ),
    _row("tilted", judges.tilted, r"\b(?:is|are|not|stays?|n't) (?:@nearly |clearly |strongly )?tilted\b(?! by)"),
    _row("tilted", judges.upright, r"\b(?:hardly|barely|scarcely) (?:tilted|tilts|leans)\b"),
    _row(
        "transition", judges.transition,
        r"\b(?:posture|orientation) changes?\b",
        r"\bchanges? (?:of|in) (?:the )?(?:\w+ )?(?:posture|orientation)\b",
        r"\bchang(?:es|ing) (?:its |their |the |his |her )?(?:posture|orientation)\b",
        r"\bturns? (?:upside down|over)\b",
    ),
    _row(
        "transition", judges.same_posture,
        r"\b(?:posture|orientation)(?: of the \w+)? @be @very@same\b",
        r"\b@same (?:posture|orientation)\b",
        r"\b(?:posture|orientation)(?: of the \w+)? (?:does not|did not|doesn't|never) changes?\b",
    ),
    # --- how much it moves
    _row("level", judges.hardly, r"\b(?:hardly|barely|scarcely)(?: anything)? (?:moves?|moving)\b"),
    _row(
        "level", judges.moving,
        r"(?:(?<=(?:not|n't) )|(?<=neither )|(?<=\bis )|(?<=\bit )|(?<=sensor )|(?<=phone )|(?<=device )|(?<=person ))"
        r"(?:constantly |continuously )?(?:moves?|moving|active)\b(?! (?:most|more|less|about|along|between))",
        r"\bin (?:constant )?motion\b",
    ),
    _row(
        "level", judges.level,
        r"\b@thing(?: of the \w+)?(?: (?:level|strength))?,? (?:(?:@rises|@falls|but|and|then) ){0,3}@be @very@level\b"
        r"(?! [a-z]+(?:ing|s)\b| has\b)",
        r"\b@thing,? @very(?P<level>still|at rest|motionless|stationary|very strong|strong|moderate|light)(?=,|"
        r" and\b|$)",
        r"\b(?:but|and) (?:stays|becomes|is) @very@level\b(?! [a-z]+ing\b| and | gait| rhythm)",
        r"\b@level[ -](?:(?!rotat|turn)\w+ )?@moving\b",
        r"\b@level (?:variation|variability)\b(?! (?:on|along|in|of)\b)",
        r"(?:^ ?|[,:] |(?<=(?:not|n't) )|\b(?:completely|entirely|perfectly|almost|initially|first|then|is|be|stays|"
        r"lies|keeps|remains|sits|stands|holds|held|kept) )(?P<level>still|motionless|stationary|at rest|immobile)\b"
        r"(?! [a-z]+(?:ing|s)\b| has\b| of\b)",
    ),
    _row(
        "level", judges.still,
        r"\b(?:sensor|phone|device) rests\b",
        r"\b(?:no|without(?: any)?|absence of|lack of) (?:(?:significant|noticeable|visible|detectable|further|any) )?"
        r"(?:motion|movement)\b(?! in)",
        r"\bnothing moves\b",
    ),
    _row("level", judges.rest, r"\bcom(?:es|ing) to (?:a )?(?:rest|stop|standstill|halt)\b"),
    # --- axes
    _row(
        "most varied axis", judges.most_varied,
        r"@sensor@axis @varies (?:the )?(?P<most>most|least)\b",
        r"\b(?P<most>most|least) (?:of the )?@sensor@variation (?:is |occurs |happens |appears )?(?:on|along|in|"
        r"at) @axis",
        r"\b@sensor@variation (?:is )?@most (?:on|along|in|at) @axis",
        r"@axis (?:of the @sensor)?(?:shows?|showing|has|having|exhibits|displays|sees|with) the @most @variation\b",
        r"\b(?P<most>most|least) (?:variable|varied|active|dynamic) @sensor(?:axis) (?:is|being) @axis",
    ),
    _row(
        "main rotation axis", judges.turning_axis,
        r"\b(?:turns?|rotates?|rotating|spins?|spinning)\b@words\b(?:about|around) @axis",
        r"\b(?:turning|rotation)\b@words\b(?:mostly|mainly|primarily|predominantly|largely)\b@words\b@along @axis",
        r"\b(?:most|strongest|largest|fastest) (?:of the )?(?:turning|rotation) (?:\w+ )?@along @axis",
        r"\b(?:main|dominant|primary|principal) (?:axis of rotation|rotation axis|turning axis) (?:is|being) @axis",
        r"\bdominated by (?:turning|rotation) @along @axis",
        r"\b@turning is (?:largest|strongest|greatest|highest|most pronounced)\b@gap\b@along @axis",
    ),
    _row(
        "axes compared", judges.compare_spreads,
        r"@axis @varies (?:much |far |clearly |slightly )?@more(?: strongly| widely)? than @other",
        r"\b@more @variation (?:on|along|in) @axis than (?:on |along |in )?@other",
        r"\b@variation (?:on|along|in|of) @axis is (?:much |far |clearly |slightly )?@more than (?:that )?(?:on |"
        r"along |in |of )?@other",
        r"@axis @varies (?:about |around |roughly )?@times as (?:much|strongly|widely) as @other",
    ),
    _row(
        "means compared", judges.compare_means,
        r"@axis (?:acceleration |value |reading |mean )?is (?:on average |much |clearly |slightly )?@more than @other",
    ),
    _row(
        "steadiness", judges.steady_axis,
        r"@sensor@axis(?: \w+)? (?:remains|stays|is|keeps) (?:@nearly|fairly|mostly|quite|rather|largely|very) @same\b",
        r"@sensor@axis(?: \w+)? (?:remains|stays) @same\b",
    ),
    # --- rotation
    _row(
        "turning", judges.no_turning,
        r"\b(?:no|(?:very )?little|(?:hardly|barely|without) any|almost no|minimal|negligible|without) "
        r"(?:significant |noticeable |substantial )?@turning\b",
        r"\b(?:hardly|barely|scarcely) (?:turns?|rotates?|turning|rotating)\b",
        r"\b@turning (?:is|stays|remains) (?:negligible|minimal|absent|(?:close to|near|almost) zero)\b",
    ),
    _row(
        "turning", judges.turns,
        r"(?<=(?:not|n't|nor) )(?:turns?|rotates?|turning|rotating)\b(?! (?:most|main|over|about|around|by))",
    ),
    # --- rhythm
    _row(
        "rhythm", judges.no_rhythm,
        r"\b(?:irregular|aperiodic|non-periodic|nonperiodic)\b",
        r"\b(?:rhythm|cadence|periodicity) (?:is|are) (?:not|absent|missing|lacking)\b",
    ),
    _row(
        "rhythm", judges.rhythm,
        r"\b(?:(?P<kind>clear|strong|distinct|pronounced|loose|weak|faint|regular|steady|stable|consistent) )?"
        r"(?:(?:and )?(?:regular|periodic) )?(?:step |walking |gait |stepping |repeating )?(?:rhythm|cadence|"
        r"periodicity)\b(?! does)(?: (?:is|looks) (?P<adjective>clear|loose|weak|regular)\b)?",
        r"\b(?:regular|periodic|repeating|repetitive|rhythmic|cyclic) (?:step )?(?:pattern|steps|oscillations?|"
        r"peaks|motion)\b",
    ),
    _row(
        "symmetry", judges.even,
        r"\b(?:steps|strides|gait) (?:are|is|look|seem) (?:very |quite |fairly |nearly )?(?:even|alike|equal|"
        r"symmetric(?:al)?|similar)\b",
        r"\b(?:even|symmetric(?:al)?|equal) (?:steps|gait|strides?)\b",
        r"\bsuccessive steps (?:are |look )?(?:alike|equal|the same|similar)\b",
        r"\bboth steps (?:of (?:a|each|the) stride )?(?:are |look )?(?:alike|equal|the same|similar)\b",
    ),
    _row(
        "symmetry", judges.uneven,
        r"\b(?:steps|strides|gait) (?:are|is|look|seem) (?:very |quite |fairly )?(?:uneven|asymmetric(?:al)?|unequal|"
        r"different)\b",
        r"\b(?:uneven|asymmetric(?:al)?|unequal|limping) (?:steps|gait|strides?)\b",
        r"\b(?:every (?:second|other) step|successive steps) (?:differs?|(?:is |are )?different)\b",
        r"\b(?:alternating steps|steps alternate)\b(?! (?:evenly|regularly))",
    ),
    _row(
        "impacts", judges.impacts,
        r"\b(?P<n>no|without an?y?|without|free of|a single|single|an?|several|a few|some|many|numerous|frequent|"
        r"multiple|"
        rf"repeated|{_COUNT}) (?:(?!largest|heaviest|hardest|strongest|biggest|highest|maximum)\w+ )?"
        r"(?:impacts?|shocks?|jolts?|bumps?|spikes)\b(?! (?:of|at|reaching) [0-9])",
    ),
    # --- what grows or fades in the seconds of its clause
    _row(
        "trend", judges.trend,
        _GROWS + r"\b(?! (?:to|by|from) [0-9])",
        r"\b(?:(?P<rising>growing|increasing|rising)|(?P<falling>fading|decreasing|declining)|(?P<steady>steady|"
        r"uniform)) @moving\b",
    ),
    _row(
        "change", judges.change,
        r"\b@device (?P<starts>(?:starts?|begins?) (?:moving|to move))\b",
        r"\b@device (?:stops moving|settles down|calms down)\b",
    ),
    # --- the sensor itself
    _row(
        "sensor problem", judges.sensor_problem,
        r"\b(?P<channels>(?:@channel(?![\w'])[ ,]*){1,14})(?:is|are|looks?|appears?|seems?) (?:completely |entirely )?"
        r"(?P<problem>constant|dead|flat|stuck|frozen|clipped|saturated|clipping|saturating)\b",
    ),
    _row(
        "sensor problem", judges.any_problem,
        r"\bsome channels are constant or clipped\b",
        r"\b(?:sensor (?:problems?|faults?|errors?|failures?)|clipping|saturation|dead (?:axis|channel|sensor))\b",
        r"\b(?:axis|channel|sensor) (?:is|seems) (?:broken|faulty|defective)\b",
    ),
)  # fmt: skip
