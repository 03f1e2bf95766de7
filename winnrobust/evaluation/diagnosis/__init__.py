"""Is a model robust, or did the attack fail? Probes measure, indicators conclude.

`measurements.py` says what is measured, `indicators.py` what is concluded, one function each.

Carlini, Athalye, Papernot, Brendel, Rauber, Tsipras, Goodfellow, Madry, Kurakin: On Evaluating
Adversarial Robustness, 2019, arXiv:1902.06705. Pintor, Demetrio, Sotgiu, Demontis, Carlini, Biggio,
Roli: Indicators of Attack Failure, NeurIPS 2022, arXiv:2106.09947.
"""

from winnrobust.evaluation.diagnosis.indicators import VERDICTS, Verdict
from winnrobust.evaluation.diagnosis.table import DIAGNOSIS_COLUMNS, diagnose, overall

__all__ = ["DIAGNOSIS_COLUMNS", "VERDICTS", "Verdict", "diagnose", "overall"]
