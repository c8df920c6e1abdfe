"""Only what pyproject.toml cannot say: the C converters are optional. Without a compiler Python ones take their
place, slower and with the same bytes."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            f"tidewind.engines.mariadb.{name}",
            sources=[f"tidewind/engines/mariadb/{name}.c"],
            extra_compile_args=["-O3", "-std=c11"],
            optional=True,
        )
        for name in ("_rows", "_params")
    ]
)
