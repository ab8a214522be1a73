"""What planning reads of 20 abdominal CTs."""

from nnunetv2_cdpd.annotation import Annotation, Source

ANNOTATION = Annotation(
    classes=("liver", "right_kidney", "left_kidney"),
    values=(1, 2, 3),
    regions=((1,), (2,), (3,)),
    sources=(Source("A", ("liver",)), Source("B", ("right_kidney", "left_kidney"), task_prompt="Both kidneys")),
    case_source={f"case_{i}": "AB"[i % 2] for i in range(20)},
)
INTENSITIES = {
    "0": {
        "mean": 75.0,
        "std": 50.0,
        "percentile_00_5": -100.0,
        "percentile_99_5": 200.0,
        "median": 70.0,
        "min": -200.0,
        "max": 300.0,
    }
}
