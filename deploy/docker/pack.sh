#!/bin/sh
# Packs programs that were built on this machine into the images, without a registry: pack.sh PROGRAMS [TAG]
#
# PROGRAMS is a folder with control-plane, tenant-node and tenantctl, such as target/release. The images are those of the
# Dockerfile, by its own stages, with this machine's C library: tenantry/control-plane:TAG and tenantry/tenant-node:TAG. TAG is
# the programs' version by default.
# Talks to the engine that docker talks to.
set -eu

[ $# -eq 1 ] || [ $# -eq 2 ] || { echo "usage: pack.sh PROGRAMS [TAG]" >&2; exit 2; }
programs=$1
here=$(dirname "$0")
for program in control-plane tenant-node tenantctl; do
  [ -x "$programs/$program" ] || { echo "pack.sh: $programs/$program is not there" >&2; exit 1; }
done
version=$("$programs/control-plane" --version | cut -d ' ' -f 2)
tag=${2:-$version}
revision=$(git -C "$here" rev-parse HEAD 2>/dev/null || echo unknown)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
sh "$here/root.sh" "$programs" "$folder/roots"
{ printf 'FROM scratch AS roots\nCOPY . /\n'; sed -n '/^# Images$/,$p' "$here/Dockerfile"; } >"$folder/Dockerfile"

for image in control-plane tenant-node; do
  # The classic builder, since BuildKit may have to be loaded first.
  DOCKER_BUILDKIT=0 docker build --quiet --network none --file "$folder/Dockerfile" --target "$image" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "tenantry/$image:$tag" \
    "$folder/roots" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
  docker image inspect --format "tenantry/$image:$tag {{.Size}} bytes" "tenantry/$image:$tag"
done
