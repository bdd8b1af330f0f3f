"""What the analysis reads: families, their variables and dimensions."""

from __future__ import annotations

JACOBIAN, SPECTRUM, LYAPUNOV = "jacobian", "spectrum", "lyapunov"
TRAINING = "training/jacobian"

PARTS = ("branch", "block")
BRANCH, BLOCK = 0, 1

CELL = ("sample", "block", "part")
VALUE = (*CELL, "eigenvalue")

NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    JACOBIAN: dict.fromkeys(
        (
            "jacobian_frobenius_norm",
            "jacobian_frobenius_norm_stderr",
            "jacobian_spectral_norm",
            "jacobian_spectral_norm_residual",
            "jacobian_spectral_norm_converged",
            "jacobian_log_norm",
            "jacobian_log_norm_residual",
            "jacobian_log_norm_converged",
            "jacobian_relative_error",
        ),
        CELL,
    ),
    SPECTRUM: {
        **dict.fromkeys(
            (
                "jacobian_eigenvalues",
                "jacobian_eigenvalue_residual",
                "jacobian_eigenvalue_condition",
                "jacobian_eigenvalue_converged",
            ),
            VALUE,
        ),
        **dict.fromkeys(
            (
                "jacobian_spectral_abscissa",
                "jacobian_spectral_abscissa_converged",
                "jacobian_spectral_radius",
                "jacobian_spectral_radius_converged",
            ),
            CELL,
        ),
    },
    LYAPUNOV: {
        "lyapunov_exponents": ("sample", "block", "exponent"),
        "lyapunov_exponents_error": ("sample", "block", "exponent"),
        "perturbation_growth": ("sample", "block"),
    },
}

# What a family beside `jacobian` adds, and the quantity that makes `resprobe collect` measure it.
ADDS = {
    SPECTRUM: ("jacobian_eigenvalues", "eigenvalues, and with them RA Eq. 5"),
    LYAPUNOV: ("lyapunov_exponents", "Lyapunov exponents"),
}

# The scalar quantities that are shown by block and over training, with their signs in figures.
SYMBOLS = {
    "spectral_abscissa": r"$\max\,\mathrm{Re}\,\lambda$",
    "log_norm": r"log norm $\mu_2$",
    "spectral_norm": r"$\sigma_{\max}$",
    "spectral_radius": r"$\max\,|\lambda|$",
}
MEANINGS = {
    "spectral_abscissa": "largest real part of an eigenvalue of the Jacobian",
    "log_norm": "largest eigenvalue of the symmetric part of the Jacobian",
    "spectral_norm": "largest singular value of the Jacobian",
    "spectral_radius": "largest magnitude of an eigenvalue of the Jacobian",
    "frobenius_norm": "Frobenius norm of the Jacobian",
}
