"""What runs on the device: these modules, and `environment`, become the one file measure_kit.py (`script`).

They need the standard library and numpy alone, and Python 3.8.
"""
