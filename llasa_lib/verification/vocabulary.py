"""The words that numbers stand among: units, statistics, sensors and axes.

To teach the verifier a new unit or a new word for a statistic, add it here; ``values`` says how each is recomputed.
"""

import math

GRAVITY = 9.80665  # m/s²

_PER_SECOND = r"(?: ?/ ?| per | a | every | each )s(?:ec(?:ond)?)?s?"

# (kind, factor to m/s², rad/s, degrees, seconds or per second, pattern); the first that fits is taken.
UNITS = (
    ("acceleration", 1.0, r"(?:m|met(?:er|re)s?) ?(?:/|per|·|) ?s(?:ec(?:onds?)?)? ?(?:²|\^\{?2\}?|  2|2|-2|-²|"
     r"squared|/s|per s(?:econd)?)(?!\w)"),
    ("acceleration", GRAVITY, r"(?:g(?:'s|s| units?)?|units of gravity)(?![\w/])"),
    ("rotation", 1.0, rf"rad(?:ians?)?(?:{_PER_SECOND}|[ ·]s ?-[1¹])(?![\w/²])"),
    ("rotation", math.pi / 180, rf"(?:°|deg(?:rees?)?)(?:{_PER_SECOND})(?![\w/²])|dps\b"),
    ("degrees", 1.0, r"(?:°|deg(?:rees?)?)(?![\w/]| ?c\b)"),
    ("degrees", 180 / math.pi, r"rad(?:ians?)?(?![\w/])"),
    ("steps", 1.0, rf"steps?{_PER_SECOND}(?!\w)"),
    ("steps", 2.0, rf"strides?{_PER_SECOND}(?!\w)"),
    ("steps", 1 / 60, r"steps? ?(?:/|per|a) ?min(?:ute)?s?(?!\w)|spm\b"),
    ("frequency", 1.0, r"(?:hz|hertz|cycles per second|times per second|times a second|cycles/s)(?!\w)"),
    ("samples", 1.0, r"samples(?! per| ?/)\b"),
    ("frequency", 1.0, r"samples(?: per |/)s(?:ec(?:ond)?)?\b"),
    ("seconds", 0.001, r"(?:ms|milliseconds?)(?!\w)"),
    ("seconds", 1.0, r"(?:s|secs?|seconds?)(?![\w/])"),
    ("count of steps", 1.0, r"steps(?!\w|-)"),
)  # fmt: skip

# (role, what it means, pattern). A weak statistic ("reaches") gives way to a strong one ("the mean reaches").
WORDS = (
    ("axis", "", r"(?<![\w'])[xyz](?![\w'])|(?<![\w'])(?:a|acc|g|w|gyro|rot)[xyz](?![\w'])"),
    ("statistic", "mean", r"\b(?:fluctuat|var[iy]|oscillat|hover|swing|cent(?:er|re))\w* (?:around|about|near)\b"),
    ("weak", "change", r"\b(?:increas|decreas|drop|ris|rose|jump|chang|grow|fall|differ)\w* (?:of|by)\b"),
    ("statistic", "first value",
     r"\b(?:initial|first) (?:value|reading|sample)|\b(?:starts|starting|begins|beginning) at\b"),
    ("statistic", "last value", r"\b(?:final|last) (?:value|reading|sample)|\b(?:ends|ending|finishes) at\b"),
    ("statistic", "amplitude", r"\bamplitudes?\b"),
    ("statistic", "root mean square", r"\b(?:rms|root[- ]mean[- ]square)\b"),
    ("statistic", "standard deviation", r"\b(?:standard deviations?|std(?:ev)?(?: dev)?|sd|spreads?|spreading|"
     r"var(?:ies|y|ying)|variation|variability|fluctuat\w+|deviat\w+|sigma)\b|σ"),
    ("statistic", "variance", r"\bvariances?\b"),
    ("statistic", "range", r"\b(?:peak[- ]to[- ]peak|range|total swing)\b"),
    ("statistic", "mean", r"\b(?:mean|averag\w+|avg)\b|μ"),
    ("statistic", "median", r"\bmedian\b"),
    ("statistic", "maximum", r"\b(?:max|maxim(?:um|a|al)|peak(?:s|ed|ing)?|highest)\b"),
    ("statistic", "minimum", r"\b(?:min|minim(?:um|a)|lowest)\b"),
    ("weak", "maximum",
     r"\b(?:reach(?:es|ing|ed)?|fastest|largest|greatest|hardest|strongest|top(?:s|ping)|spik\w+|outliers?|"
     r"exceed\w*|up to|as high as)\b"),
    ("weak", "minimum", r"\b(?:smallest|dips?|dipping|trough|(?:drops?|falls?|goes) (?:down )?to|as low as)\b"),
    ("statistic", "gravity", r"\b(?:gravity|gravitational|point(?:s|ing)? (?:up|down)\w*|fac(?:es|ing) (?:up|"
     r"down)\w*)\b"),
    ("statistic", "motion", r"\b(?:motion|movement|intensity|shaking|shakes)\b"),
    ("statistic", "impact", r"\b(?:impacts?|shocks?|jolts?)\b"),
    ("statistic", "tilt", r"\b(?:tilt\w*|lean\w*|inclin\w+|angles?)\b"),
    ("statistic", "turn", r"\b(?:posture|orientation)\b"),
    ("statistic", "cadence", r"\b(?:cadence|steps?|stepping|strides?|rhythm|gait|pace)\b"),
    ("statistic", "frequency", r"\b(?:frequenc\w+|swings?|swinging|oscillat\w+|periodic\w*)\b"),
    ("statistic", "period", r"\b(?:period|step (?:time|duration|interval)|intervals? of|per step|every|one step)\b"),
    ("statistic", "sampling", r"\b(?:sampl(?:ed|ing)|recorded)\b"),
    ("statistic", "duration", r"\b(?:window|recording|segment|clip|excerpt)\b"),
    ("sensor", "rotation", r"\|(?:rotation|ω|w|gyro)\||\b(?:gyro\w*|rotation\w*|rotat(?:es?|ed|ing)|turn(?:s|ed|ing)?|"
     r"angular|spin\w*)\b"),
    ("sensor", "acceleration", r"\|a(?:cc\w*)?\||\b(?:acc|accel\w*)\b"),
    ("magnitude", "", r"\b(?:magnitude|norm|resultant|total|overall|combined)\b"),
    ("subject", "", r"\b(?:sensor|phone|device|it|person|wearer)\b"),
    ("sign", "", r"\b(?:negative|minus|absolute|magnitude)\b|\|"),
)  # fmt: skip
