"""The only place where Python fills relations that SQL then reads: schema ``input``, listed in `registry.INPUTS`.

Names of ranges and what they mean, shapes of steps, FLOPs and bytes of a model, peaks of GPUs: what SQL cannot work
out. Each relation is made when a module of ``sql/`` first needs it, whoever asks.
"""

from nsys_pipeline.inputs.inputs import Inputs
from nsys_pipeline.inputs.options import AnalysisOptions, GoodputLimits, ImageOptions, RequestShape

__all__ = ["AnalysisOptions", "GoodputLimits", "ImageOptions", "Inputs", "RequestShape"]
