"""Packaging: ranges and extras. requirements.txt pins the exact versions that are tested together."""

from setuptools import find_packages, setup

setup(
    name="compress",
    version="0.1.0",
    description="Differentiable architecture search that makes trained vision networks smaller and faster",
    python_requires=">=3.11",
    packages=find_packages(include=["compress", "compress.*"]),
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "onedl-mmengine>=0.10.12,<0.11",
        "opencv-python-headless>=4.10",
        "numpy>=1.26",
        "safetensors>=0.4",
        "scikit-learn>=1.4",
        "timm>=1.0.20,<1.1",
        "matplotlib>=3.8",
        "onnx>=1.18",
        "onnxruntime>=1.20",
        "onnxscript>=0.5",
        "pydantic>=2.10",
        "rich>=13",
        "scipy>=1.13",
    ],
    entry_points={"compress.spaces": ["detector = compress.detection"]},
    extras_require={
        "detection": ["onedl-mmcv>=2.3.6", "onedl-mmdetection>=3.5.1", "pycocotools>=2.0.8"],
        "dev": [
            "hypothesis>=6.100",
            "mypy>=1.15",
            "pytest>=8",
            "pytest-randomly>=3.16",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
        ],
        "tensorrt": ["tensorrt>=10"],
        "tensorrt-rtx": ["tensorrt-rtx>=1.7"],
    },
)
