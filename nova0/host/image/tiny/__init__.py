"""`nova0 image build tiny`: a guest small enough to boot in seconds, made of Debian packages.

Only making the image; registering it with an image service is the caller's.
"""

from nova0.host.image.tiny.build import Built, build
from nova0.host.image.tiny.packages import CannotBuild

__all__ = ["Built", "CannotBuild", "build"]
