"""Only what pyproject.toml cannot say: the C converter is optional. Without a compiler the Python one takes its place,
slower and with the same bytes."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "tidewind.engines.mariadb._rows",
            sources=["tidewind/engines/mariadb/_rows.c"],
            extra_compile_args=["-O3", "-std=c11"],
            optional=True,
        )
    ]
)
