"""What pyproject.toml cannot say: the recipes, which stand beside the library, travel inside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["compress", "compress.*"]), "compress.recipes"],
    package_dir={"compress.recipes": "recipes"},
    package_data={"compress": ["py.typed"], "compress.recipes": ["**/*.py"]},
)
