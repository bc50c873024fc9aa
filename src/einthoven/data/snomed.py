"""The SNOMED CT codes that the PhysioNet/CinC challenges score, by their official abbreviations.

The lists: https://github.com/physionetchallenges/evaluation-2021 (30 codes; 2020 has 27 of them). The nine
classes of CPSC 2018 (ICBEB), doi:10.1166/jmihi.2018.2442, are codes of its records in those challenges.
"""

from collections.abc import Iterable

SCORED = {
    "164889003": "AF",  # atrial fibrillation
    "164890007": "AFL",  # atrial flutter
    "6374002": "BBB",  # bundle branch block
    "426627000": "Brady",  # bradycardia
    "733534002": "CLBBB",  # complete left bundle branch block
    "713427006": "CRBBB",  # complete right bundle branch block
    "270492004": "IAVB",  # first-degree AV block
    "713426002": "IRBBB",  # incomplete right bundle branch block
    "39732003": "LAD",  # left axis deviation
    "445118002": "LAnFB",  # left anterior fascicular block
    "164909002": "LBBB",  # left bundle branch block
    "251146004": "LQRSV",  # low QRS voltages
    "698252002": "NSIVCB",  # nonspecific intraventricular conduction disorder
    "426783006": "NSR",  # sinus rhythm
    "284470004": "PAC",  # premature atrial contraction
    "10370003": "PR",  # pacing rhythm
    "365413008": "PRWP",  # poor R wave progression
    "427172004": "PVC",  # premature ventricular contractions
    "164947007": "LPR",  # prolonged PR interval
    "111975006": "LQT",  # prolonged QT interval
    "164917005": "QAb",  # Q wave abnormal
    "47665007": "RAD",  # right axis deviation
    "59118001": "RBBB",  # right bundle branch block
    "427393009": "SA",  # sinus arrhythmia
    "426177001": "SB",  # sinus bradycardia
    "427084000": "STach",  # sinus tachycardia
    "63593006": "SVPB",  # supraventricular premature beats
    "164934002": "TAb",  # T wave abnormal
    "59931005": "TInv",  # T wave inversion
    "17338001": "VPB",  # ventricular premature beats
}
SAME = {"CLBBB": "LBBB", "CRBBB": "RBBB", "SVPB": "PAC", "VPB": "PVC"}  # scored as one diagnosis
# Codes that no challenge scores, but three classes of CPSC 2018.
UNSCORED = {
    "429622005": "STD",  # ST depression
    "164931005": "STE",  # ST elevation
    "164884008": "VEB",  # ventricular ectopics: how the challenges code the PVC of CPSC 2018
}
NAMES = SCORED | UNSCORED
CPSC2018 = {
    "NSR": "NORM",
    "AF": "AF",
    "IAVB": "I-AVB",
    "LBBB": "LBBB",
    "RBBB": "RBBB",
    "PAC": "PAC",
    "PVC": "PVC",
    "VEB": "PVC",
    "STD": "STD",
    "STE": "STE",
}


def tasks(codes: Iterable[str]) -> dict[str, list[str]]:
    """Return the sorted labels of one record in each task.

    >>> tasks(["59118001", "713427006", "164884008", "164865005"])
    {'snomed': ['164865005', 'CRBBB', 'RBBB', 'VEB'], 'scored': ['RBBB'], 'cpsc2018': ['PVC', 'RBBB']}
    """
    named = {NAMES.get(code, code) for code in codes}
    merged = {SAME.get(name, name) for name in named}
    scored = merged & set(SCORED.values())
    return {
        "snomed": sorted(named),
        "scored": sorted(scored),
        "cpsc2018": sorted({CPSC2018[name] for name in merged & CPSC2018.keys()}),
    }
