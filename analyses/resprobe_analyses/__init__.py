"""The bundled analyses, one package each; nothing here needs a model or a GPU.

An analysis reads what was collected and gives a dataset, figures, a verdict and plain sentences.
"""

ENTRIES = {
    "attribution": "resprobe_analyses.attribution:ANALYSIS",
    "cushions": "resprobe_analyses.cushions:ANALYSIS",
    "equivalence": "resprobe_analyses.equivalence:ANALYSIS",
    "lesion": "resprobe_analyses.lesion:ANALYSIS",
    "noise-stability": "resprobe_analyses.noise_stability:ANALYSIS",
    "norm-vs-depth": "resprobe_analyses.norm_vs_depth:ANALYSIS",
    "spans": "resprobe_analyses.spans:ANALYSIS",
    "stability": "resprobe_analyses.stability:ANALYSIS",
}
