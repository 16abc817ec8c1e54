"""Mesh tests run under gevent's patches, as every nova0 process does."""

from gevent import monkey

monkey.patch_all()
