"""Only what pyproject.toml cannot say: the C modules are optional. Without a compiler their Python twins take their
place, slower and with the same answers."""

from setuptools import Extension, setup

OPTIONAL = (
    "tidewind/engines/mariadb/_rows.c",
    "tidewind/engines/mariadb/_params.c",
    "tidewind/engines/mariadb/log/_walk.c",
    "tidewind/engines/mariadb/replay/_count.c",
)

setup(
    ext_modules=[
        Extension(
            source.removesuffix(".c").replace("/", "."),
            sources=[source],
            extra_compile_args=["-O3", "-std=c11"],
            optional=True,
        )
        for source in OPTIONAL
    ]
)
