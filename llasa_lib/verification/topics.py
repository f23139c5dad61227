"""What no accelerometer and gyroscope can decide: a table of (quantity, how it is named).

A text that names one of these makes a claim that the window neither supports nor contradicts.
"""

import re

_PEOPLE = (
    r"(?:person|people|someone|somebody|subject|user|wearer|participant|individual|man|woman|child|he|she|they|who)"
)
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"

TOPICS = [
    (quantity, re.compile(pattern))
    for quantity, pattern in (
        ("activity",
         r"\b(?:walking|strolling|jogging|running|sprinting|hiking|marching|sitting|seated|standing(?! out)|lying|"
         r"laying down|biking|cycling|driving|sleeping|dancing|jumping|cooking|typing|writing|swimming|rowing|eating|"
         r"drinking|exercising|working out|vacuuming|ironing|(?:climbing|descending|ascending)(?: (?:the )?stairs)?|"
         r"going (?:up|down)(?:stairs| the stairs)?|upstairs|downstairs|stairs|staircase|sedentary|ambulation|"
         r"locomotion)\b"),
        ("activity", rf"\b{_PEOPLE} (?:\w+ )?(?:walks?|jogs?|runs?|sprints?|sits?|stands?|lies|climbs?|cycles|"
         rf"drives?|sleeps?|jumps?)\b"),
        ("place", r"\b(?:indoors?|outdoors?|in(?:side)? (?:a|an|the|his|her|their) (?:\w+ )?(?:office|house|room|"
         r"kitchen|park|street|car|bus|train|gym|bed|garden|forest|city|building|home|school|shop|hospital|elevator|"
         r"lift)|at (?:home|work|the (?:office|gym))|(?:on|over|across) (?:a|the) (?:\w+ )?(?:street|road|pavement|"
         r"grass|treadmill|sofa|couch|chair|bed|beach|slope|hill|floor|ground|table))\b"),
        ("heart rate", rf"\b(?:heart ?rate|heart ?beat|pulse|bpm)\b|\b{_NUMBER} beats per minute\b"),
        ("body",
         r"\b(?:blood pressure|breath(?:ing|es|s)?|respiration|body temperature|skin temperature|calories|kcal|"
         r"energy expenditure|oxygen|sweat\w*|pain|injur\w+|ill|healthy|fitness)\b"),
        ("mood", r"\b(?:happy|sad|tired|fatigued?|exhausted|relaxed|stressed|anxious|nervous|angry|bored|mood|"
         r"calm and|comfortable|excited)\b"),
        ("intent", r"\b(?:intend\w*|intention\w*|wants? to|in order to|plans? to|trying to|hurry|rushing|late for|"
         r"on (?:his|her|their) way|" r"going to (?:work|school|sleep)|deliberately|on purpose)\b"),
        ("body part", r"\b(?:wrist|ankle|hips?|waist|trousers?|pocket|chest|thigh|forearm|upper arm|left (?:arm|leg|"
         r"foot|hand)|right (?:arm|leg|foot|hand)|"
         r"in (?:the|his|her|one|their) hand|legs?|knees?|foot|feet|backpack|belt)\b"),
        ("speed", rf"\b{_NUMBER} ?(?:km/h|kmh|kph|kilomet(?:er|re)s per hour|mph|miles per hour|m/s(?![²^0-9/])|"
         rf"met(?:er|re)s per second(?! (?:squared|per))|" r"knots)|\b(?:walking|running) speed\b|\bbrisk(?:ly)?\b"),
        ("distance", rf"\b{_NUMBER} ?(?:km|kilomet(?:er|re)s?|miles?|cm|centimet(?:er|re)s?|mm|m|met(?:er|re)s?|"
         rf"feet|ft|inch(?:es)?)\b(?! ?(?:per|[/·]|s\b|second))" r"|\b(?:distance|stride length|step length)\b"),
        ("identity", r"\b(?:male|female|adult|elderly|young|old|gender|years? old|identity)\b|\bage(?:d)?\b"),
        ("weight", rf"\b(?:body weight|{_NUMBER} ?(?:kg|kilograms?|pounds|lbs?))\b"),
        ("weather", r"\b(?:weather|sunny|rain(?:y|ing)?|temperature|humid\w*|wind(?:y)?)\b"),
        ("time of day", r"\b(?:morning|afternoon|evening|night|midnight|noon|o'clock|time of day)\b"),
        ("device", r"\b(?:battery|iphone|samsung|screen|bluetooth|wi-?fi|gps|altitude|magnetic field|air pressure|"
         r"elevation)\b"),
    )
]  # fmt: skip

# "Heart rate cannot be told" says nothing about the heart rate; "would" says nothing about this window.
REFUSALS = re.compile(
    r"\b(?:cannot|can't|can not|could not|unable|impossible|unknown|no way|not possible|nothing (?:in|about)|no "
    r"information|(?:do|does|did)(?: not|n't) (?:show|tell|reveal|say|measure|record|know|contain|see|hear|feel)|(?:is|"
    r"are) not in|needs?|require[sd]?|would (?:need|take)|not (?:visible|known|measured|recorded|available))\b"
)
HYPOTHETICAL = re.compile(r"\bwould\b|^ ?if\b|[,:] if\b|\bimagine\b|\bsuppose\b")
