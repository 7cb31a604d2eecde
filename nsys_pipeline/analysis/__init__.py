"""Join a trace with the model and the hardware: who ran what, how long, and how far from the limit."""

from nsys_pipeline.analysis.analyze import AnalysisOptions, analyze, prepare
from nsys_pipeline.analysis.shapes import RequestShape

__all__ = ["AnalysisOptions", "RequestShape", "analyze", "prepare"]
