"""Image v2. RESOURCES: the files of this API; each holds the routes of one resource."""

from nova0.controller.api.image import image_actions, image_data, images, info, members, patch, schemas

RESOURCES = [images, patch, image_data, members, image_actions, schemas, info]
