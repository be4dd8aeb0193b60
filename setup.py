"Reads version and requirements from settings.ini; everything else stands in pyproject.toml."
from configparser import ConfigParser
from setuptools import setup

config = ConfigParser(delimiters=["="])
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
setup(version=cfg["version"],
      install_requires=cfg["requirements"].split(),
      extras_require={"dev": cfg["dev_requirements"].split()})
