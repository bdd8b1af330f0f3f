"""The studies by id, one module each; none is imported until it is asked for."""

ENTRIES = {
    "ML-E8": "resprobe_analyses.studies.ml_e8:STUDY",
    "ML-F3": "resprobe_analyses.studies.ml_f3:STUDY",
    "ML-F4": "resprobe_analyses.studies.ml_f4:STUDY",
    "ML-F7": "resprobe_analyses.studies.ml_f7:STUDY",
    "ML-L1": "resprobe_analyses.studies.ml_l1:STUDY",
    "ML-L2": "resprobe_analyses.studies.ml_l2:STUDY",
    "ML-T2": "resprobe_analyses.studies.ml_t2:STUDY",
    "ML-T5": "resprobe_analyses.studies.ml_t5:STUDY",
    "RA-E21": "resprobe_analyses.studies.ra_e21:STUDY",
    "YT-H": "resprobe_analyses.studies.yt_h:STUDY",
    "ZH-E4": "resprobe_analyses.studies.zh_e4:STUDY",
    "ZH-F1": "resprobe_analyses.studies.zh_f1:STUDY",
}
