"""tmp"""
from dataclasses import dataclass, field
@dataclass
class Pipeline:
    modality: object
    tokenizer: object
    conditioner: object
    backbone: object
    process: object
