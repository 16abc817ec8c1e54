"""What nova0 offers beside the field's APIs, under /nova0/v1."""

from nova0.controller.api.nova0 import image_quotas, schedule, tunnel

RESOURCES = [image_quotas, schedule, tunnel]
