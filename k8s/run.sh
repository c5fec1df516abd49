#!/usr/bin/env bash
# Render one stage of a run with its own name and settings. It changes nothing: pipe it to kubectl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'USAGE'
usage: k8s/run.sh [--overlay gke] [--component NAME]... RUN STAGE [KEY=VALUE]... | kubectl apply -f -

  RUN        lower-case letters, digits and hyphens, at most 40; Jobs are called STAGE-RUN and have the
             label run=RUN, results are in ROOT/runs/RUN
  STAGE      features, train, classify, embed, index, report or tune
  KEY=VALUE  instead of the overlay's: ROOT, FEATURES, INPUT, DATASET, TRAIN_CONFIG, TUNE_CONFIG
  --overlay, --component  directories of k8s/overlays and k8s/components, these in any order
USAGE
}

refuse() {
  printf 'error: %s\n' "$1" >&2
  exit 2
}

overlay=gke
components=()
while [[ ${1-} == -* ]]; do
  case $1 in
    -h | --help) usage && exit ;;
    --overlay) overlay=${2-} ;;
    --component) components+=("${2-}") ;;
    *) refuse "unknown option $1; see k8s/run.sh --help" ;;
  esac
  shift 2 || refuse "$1 needs a value; see k8s/run.sh --help"
done
[[ $# -ge 2 ]] || refuse "RUN and STAGE are needed; see k8s/run.sh --help"
run=$1 stage=$2
shift 2

[[ $run =~ ^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$ ]] \
  || refuse "RUN '$run' is not 1 to 40 lower-case letters, digits and inner hyphens"
base=overlays/$overlay/$stage/kustomization.yaml
if [[ $stage == tensorboard || $stage == */* ]] || ! grep -qs base/run "$base"; then
  refuse "k8s/overlays/$overlay/$stage is not a stage of a run"
fi

# jobset copies the Job as the others have made it, and kueue puts what is there into its queue.
given=" ${components[*]-} "
others=() last=()
for component in ${components[@]+"${components[@]}"}; do
  [[ $component != */* && -f components/$component/kustomization.yaml ]] \
    || refuse "there is no k8s/components/$component"
  case $component in
    multi-host | jobset) [[ $stage == train ]] || refuse "$component is for the stage train" ;;
  esac
  case $component in
    jobset) last=(jobset ${last[@]+"${last[@]}"}) ;;
    kueue) last+=(kueue) ;;
    *) others+=("$component") ;;
  esac
done
components=(${others[@]+"${others[@]}"} ${last[@]+"${last[@]}"})
[[ $given != *" jobset "* || $given == *" multi-host "* ]] || refuse "jobset needs multi-host, too"
[[ $given != *" spot "* || $given != *" flex-start "* ]] || refuse "spot and flex-start exclude each other"
values=$(sed -n 's/^  - \([A-Z_]*=[^ ]*\).*/\1/p' "overlays/$overlay/settings/kustomization.yaml")
keys=$(cut -d= -f1 <<< "$values" | grep -vx RUN)
for setting in "$@"; do
  grep -qx -- "${setting%%=*}" <<< "$keys" && [[ $setting == *=?* && $setting != *$'\n'* ]] \
    || refuse "'$setting' is not KEY=VALUE with KEY one of ${keys//$'\n'/ }"
  values+=$'\n'$setting
done
if [[ $given == *" gcsfuse "* ]]; then
  root=$(sed -n 's/^ROOT=//p' <<< "$values" | tail -n 1)
  features=$(sed -n 's/^FEATURES=//p' <<< "$values" | tail -n 1)
  [[ $root =~ ^gs://[^/]+$ && $features == "$root"/?* && ${features#"$root"/} != */* ]] \
    || refuse "gcsfuse needs ROOT=gs://NAME and FEATURES=gs://NAME/DIR, not $root and $features"
fi

# The kustomization of the stage, with the run's own values before names are derived from them. It is
# outside of the project, and kustomize takes relative paths only.
work=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$work"' EXIT
slashes=${work//[!\/]/} k8s=$(pwd -P)
here=${slashes//\//../}${k8s#/}
mkdir "$work/own"
printf '%s\n' "RUN=$run" "$@" > "$work/own/values.env"
cat > "$work/own/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
configMapGenerator:
- name: locations
  behavior: merge
  envs: [values.env]
YAML
{
  while IFS= read -r line; do
    [[ $line != *base/run ]] || echo "- own"
    printf '%s\n' "${line/#- ..\//- $here/overlays/$overlay/$stage/../}"
  done < "$base"
  for component in ${components[@]+"${components[@]}"}; do
    printf -- '- %s\n' "$here/components/$component"
  done
} > "$work/kustomization.yaml"
kubectl kustomize "$work"
