"""CodeBuild's operations, as far as images are built with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from smexec.local.account import partition
from smexec.local.api import Members, Operations
from smexec.local.checks import Preconditions
from smexec.local.codebuild import IN_PROGRESS, Build, Project
from smexec.local.config import ServiceConfig
from smexec.local.model import ServiceError
from smexec.local.resources import Clock

PRINCIPAL = "codebuild.amazonaws.com"

_KNOWN = frozenset({"projectName", "buildspecOverride", "environmentVariablesOverride", "idempotencyToken"})


class CodeBuildApi:
    """Projects and builds of one account; ``launch`` starts a build and returns at once."""

    def __init__(
        self,
        config: ServiceConfig,
        preconditions: Preconditions,
        launch: Callable[[Build], None],
        clock: Clock,
    ) -> None:
        self._place = f"arn:{partition(config.region)}:codebuild:{config.region}:{config.account}"
        self._preconditions = preconditions
        self._launch = launch
        self._clock = clock
        self._projects: dict[str, Project] = {}
        self._builds: dict[str, Build] = {}
        self._tokens: dict[str, Build] = {}

    @property
    def operations(self) -> Operations:
        """Name to what carries it out."""
        return {
            "CreateProject": self.create_project,
            "DeleteProject": self.delete_project,
            "BatchGetProjects": self.get_projects,
            "ListProjects": self.list_projects,
            "StartBuild": self.start_build,
            "StopBuild": self.stop_build,
            "BatchGetBuilds": self.get_builds,
            "ListBuildsForProject": self.list_builds,
        }

    async def create_project(self, members: Members) -> Members:
        """CreateProject."""
        name, role = members["name"], members["serviceRole"]
        if members["source"]["type"] != "S3":
            raise _invalid("The local service has sources of type S3 only")
        if not await self._preconditions.may_assume(role, PRINCIPAL):
            raise _invalid(f"CodeBuild is not authorized to perform: sts:AssumeRole on {role}")
        if name in self._projects:
            taken = f"Project already exists: {self._projects[name].arn}"
            raise ServiceError("ResourceAlreadyExistsException", taken)
        self._projects[name] = Project(members, f"{self._place}:project/{name}", self._clock())
        return {"project": self._projects[name].describe()}

    async def delete_project(self, members: Members) -> Members:
        """DeleteProject: one that is not there is no error; its builds go with it."""
        project = self._projects.pop(members["name"], None)
        for build in project.builds if project else ():
            build.stop_requested.set()
        return {}

    async def get_projects(self, members: Members) -> Members:
        """BatchGetProjects."""
        found = [self._projects[name] for name in members["names"] if name in self._projects]
        missing = [name for name in members["names"] if name not in self._projects]
        return {"projects": [project.describe() for project in found], "projectsNotFound": missing}

    async def list_projects(self, members: Members) -> Members:  # noqa: ARG002  (all are in one page)
        """ListProjects."""
        return {"projects": sorted(self._projects)}

    async def start_build(self, members: Members) -> Members:
        """StartBuild; with a token that was used before it answers with the build of then."""
        token = members.get("idempotencyToken")
        if token not in self._tokens:
            project = self._project(members["projectName"])
            request, number = _overridden(project.request, members), len(project.builds) + 1
            build = Build(request, self._place, number, self._clock)
            project.builds.append(build)
            self._builds[build.id] = self._tokens[token or build.id] = build
            self._launch(build)
            token = token or build.id
        return {"build": self._tokens[token].describe()}

    async def stop_build(self, members: Members) -> Members:
        """StopBuild."""
        build = self._builds.get(members["id"])
        if build is None:
            raise _unknown(f"Build {members['id']} does not exist")
        if build.status == IN_PROGRESS:
            build.stop_requested.set()
        return {"build": build.describe()}

    async def get_builds(self, members: Members) -> Members:
        """BatchGetBuilds."""
        found = [self._builds[id_].describe() for id_ in members["ids"] if id_ in self._builds]
        return {"builds": found, "buildsNotFound": [id_ for id_ in members["ids"] if id_ not in self._builds]}

    async def list_builds(self, members: Members) -> Members:
        """ListBuildsForProject: the last first."""
        builds = self._project(members["projectName"]).builds
        return {"ids": [build.id for build in reversed(builds)]}

    def _project(self, name: str) -> Project:
        if name not in self._projects:
            raise _unknown(f"Project cannot be found: {self._place}:project/{name}")
        return self._projects[name]


def _overridden(project: Mapping[str, Any], members: Members) -> Mapping[str, Any]:
    """The project's request with what StartBuild puts in its place."""
    if unknown := members.keys() - _KNOWN:
        raise _invalid(f"The local service has no {min(unknown)}")
    source, environment = dict(project["source"]), dict(project["environment"])
    source["buildspec"] = members.get("buildspecOverride", source.get("buildspec"))
    given = {one["name"]: one for one in environment.get("environmentVariables", ())}
    given.update((one["name"], one) for one in members.get("environmentVariablesOverride", ()))
    environment["environmentVariables"] = list(given.values())
    return {**project, "source": source, "environment": environment}


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidInputException", message)


def _unknown(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message)
