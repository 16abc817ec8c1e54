"""Guests by libvirt. The one package that may import libvirt-python, an optional extra (`nova0[libvirt]`)."""
