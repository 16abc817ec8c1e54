"""Identity v3. RESOURCES: the files of this API; each holds the routes of one resource."""

from nova0.controller.api.identity import (
    application_credentials,
    auth,
    catalog,
    domains,
    projects,
    role_assignments,
    roles,
    users,
)

RESOURCES = [auth, catalog, projects, users, domains, roles, role_assignments, application_credentials]
