"""From an open trace to the records of the report: every number comes from a module of ``sql/``."""

from nsys_pipeline.analysis.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape

__all__ = ["AnalysisOptions", "RequestShape", "analyze"]
