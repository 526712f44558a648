#!/usr/bin/env bash
# A Kubernetes control plane and Prometheus from Debian 12's packages, into a cache folder.
#
#   build.sh        build it unless the cache holds it: minutes, 1.9 GB while it works, 0.3 GB after
#   build.sh path   print the folder and do nothing
#
# Root is not needed, nothing is installed, no service is started: apt keeps its lists in the work folder and
# packages are only unpacked. The newest Kubernetes that Debian has as full source is 1.20.2.
set -euo pipefail

VERSION=1.20.2
cache=$(realpath -m "${SETPOINT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/setpoint}")
target=$cache/control-plane-$(sha256sum "${BASH_SOURCE[0]}" | cut -c 1-12)
[[ ${1:-} == path ]] && { echo "$target"; exit; }

say() { echo "control plane: $* ($SECONDS s)"; }

mkdir -p "$cache"
exec 9> "$target.lock"
flock --nonblock 9 || { say "waiting for another build"; flock 9; }
[[ -d $target ]] && { say "already in $target"; exit; }

# Under the lock the work folder is ours; one that is there was left by a build that was killed.
work=$target.work
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,archives/partial,debs,root,tmp,bin}

private_apt() {
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}
say "downloading"
private_apt update || say "not all of this machine's package sources answered"
mirror=$(private_apt indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -n 1)
[[ $mirror ]] || { say "no source of Debian 12 (bookworm) packages among this machine's"; exit 1; }
key="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
printf '%s\n' "deb $key $mirror bookworm main" "deb-src $key $mirror bookworm main" > "$work/sources.list"
from_bookworm() {
    private_apt -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null "$@"
}
from_bookworm update
cd "$work/debs"
from_bookworm source --download-only kubernetes
from_bookworm download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server prometheus

say "unpacking"
for deb in *.deb; do dpkg -x "$deb" "$work/root"; done
tree=$work/go/src/k8s.io/kubernetes
mkdir -p "$tree"
tar -xzf kubernetes_*really"$VERSION"*.orig.tar.gz -C "$tree" --strip-components=1

# The reflect2 in the source crashes on a map when compiled by Go 1.18 or later: the API server would die of the
# first custom resource.
reflect2=github.com/modern-go/reflect2
rm -rf "${tree:?}/vendor/$reflect2"
cp -r "$work/root/usr/share/gocode/src/$reflect2" "$tree/vendor/$reflect2"

cd "$tree"
export GOROOT=$work/root/usr/lib/go-1.19 GOPATH=$work/go GOCACHE=$work/go-cache GOTMPDIR=$work/tmp
export GO111MODULE=off GOPROXY=off GOFLAGS='' CGO_ENABLED=0 GOGC=400
go=$GOROOT/bin/go

say "generating the OpenAPI definitions, which the source package lacks"
"$go" build -o "$work/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
packages=$(grep -rlE --include='*.go' '\+k8s:openapi-gen=' pkg staging/src/k8s.io |
    grep -vE '/(sample-apiserver|code-generator)/|zz_generated|_test\.go' | xargs -n 1 dirname | LC_ALL=C sort -u |
    sed 's#^staging/src/#vendor/#; s#^#k8s.io/kubernetes/#' | paste -sd,)
"$work/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/api-rules"

say "compiling, which takes minutes"
flags="-s -w"
for package in component-base/version client-go/pkg/version; do
    variable="k8s.io/kubernetes/vendor/k8s.io/$package"
    flags+=" -X $variable.gitVersion=v$VERSION -X $variable.gitMajor=1 -X $variable.gitMinor=20"
done
"$go" build -trimpath -tags providerless -ldflags "$flags" -o "$work/bin/" \
    k8s.io/kubernetes/cmd/kube-{apiserver,controller-manager,scheduler}
cp "$work"/root/usr/bin/{etcd,prometheus,promtool} "$work/bin/"
mv "$work/bin" "$target"
say "built in $target"
